"""Vocabularies of the loaded checkpoint, with norms that are cached while it is loaded."""

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
    """The token embeddings of one text encoder."""

    table: torch.Tensor
    "The host's own weight [V, d]. Do not change it, or keep it for long."
    norms: VocabularyNorms

    @property
    def width(self) -> int:
        """Width d of the vectors."""
        return self.table.shape[1]

    def nearest(self, vectors: torch.Tensor, count: int) -> Nearest:
        """Find the tokens nearest to each of the vectors [n, d]; see `engine.model.nearest_tokens.nearest`."""
        from train_embedding.engine.model.nearest_tokens import nearest

        return nearest(self.table, self.norms, vectors, count)


class Vocabularies:
    """The vocabularies of a host. Safe to call from any thread.

    Only the norms of the token embeddings are cached, 0.2 MB, until another checkpoint is loaded.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._lock = threading.Lock()
        self._checkpoint: tuple[object, ...] = ()
        self._norms: dict[str, VocabularyNorms] = {}

    def current(self) -> dict[str, Vocabulary]:
        """Return the vocabulary of each text encoder.

        Raises:
            HostFailed: No checkpoint is loaded, or its text encoder does not support embeddings.
        """
        from train_embedding.engine.model.nearest_tokens import vocabulary_norms

        tables = self._host.vocabulary()
        info = self._host.info()
        shapes = tuple((key, tuple(table.shape)) for key, table in tables.items())
        checkpoint = (info.checkpoint_name, info.checkpoint_hash, shapes)
        with self._lock:
            if checkpoint != self._checkpoint:
                self._norms = {key: vocabulary_norms(table) for key, table in tables.items()}
                self._checkpoint = checkpoint
            return {key: Vocabulary(table, self._norms[key]) for key, table in tables.items()}
