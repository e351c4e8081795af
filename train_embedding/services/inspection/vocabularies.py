"""The loaded checkpoint's vocabulary, measured once for as long as it is loaded."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from train_embedding.hosts.base import Host

if TYPE_CHECKING:
    import torch

    from train_embedding.engine.model.nearest_tokens import Nearest, VocabularyNorms


@dataclass(frozen=True)
class Vocabulary:
    """One text encoder's. table: the host's own weight [V, d], not to be changed or kept for long."""

    table: torch.Tensor
    lengths: VocabularyNorms

    @property
    def width(self) -> int:
        return self.table.shape[1]

    def nearest(self, vectors: torch.Tensor, count: int) -> Nearest:
        """The tokens nearest to each of the vectors [n, d], as `engine.vocabulary.nearest` finds them."""
        from train_embedding.engine.model.nearest_tokens import nearest

        return nearest(self.table, self.lengths, vectors, count)


class Vocabularies:
    """Safe to call from any thread. What is kept of a checkpoint are the lengths of its vectors, 0.2 MB, until another comes."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._lock = threading.Lock()
        self._checkpoint: tuple[object, ...] = ()
        self._lengths: dict[str, VocabularyNorms] = {}

    def current(self) -> dict[str, Vocabulary]:
        """Per text encoder. Raises HostFailed when no checkpoint is loaded or its text encoder takes no embeddings."""
        from train_embedding.engine.model.nearest_tokens import vocabulary_norms

        tables = self._host.vocabulary()
        info = self._host.info()
        shapes = tuple((key, tuple(table.shape)) for key, table in tables.items())
        checkpoint = (info.checkpoint_name, info.checkpoint_hash, shapes)
        with self._lock:
            if checkpoint != self._checkpoint:
                self._lengths = {key: vocabulary_norms(table) for key, table in tables.items()}
                self._checkpoint = checkpoint
            return {key: Vocabulary(table, self._lengths[key]) for key, table in tables.items()}
