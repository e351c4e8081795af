"""A run as it works: its state, which every change publishes, and the embedding that it trains."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from train_embedding.embeddings.embedding import Embedding
from train_embedding.engine.config.spec import TrainingSpec
from train_embedding.hosts.base import Host, HostInfo
from train_embedding.services.run_records import START_FILE, RunState

if TYPE_CHECKING:
    import torch

Update = Callable[..., RunState]
"Changes fields of the run's state, publishes it and returns it."


class LiveRun:
    """start: the embedding that the run begins with. update: called with the fields of the state that change."""

    def __init__(self, host: Host, state: RunState, start: Embedding, update: Update) -> None:
        self.host = host
        self.state = state
        self.spec = TrainingSpec.from_json(state.spec)
        self.start = start
        self.trained_on: HostInfo | None = None
        "The host as it lent its model; another checkpoint may be the loaded one by the time that vectors are written."
        self._update = update

    def publish(self, **changes: object) -> None:
        """Changes fields of the state for everybody to see. Raises StorageFailed."""
        self.state = self._update(**changes)

    def note(self, *sentences: str, lasting: bool = False) -> None:
        """Tells people something, once. lasting: whether it stays true when the run ends early and is resumed."""
        new = tuple(sentence for sentence in sentences if sentence not in self.state.notes)
        if new:
            kept = (*self.state.lasting, *new) if lasting else self.state.lasting
            self.publish(notes=(*self.state.notes, *new), lasting=kept)

    def embedding(self, vectors: dict[str, torch.Tensor], step: int) -> Embedding:
        """Vectors after a step of this run, under the name that is trained."""
        info = self.trained_on or self.host.info()
        done = (self.start.step or 0) + step
        return Embedding(
            self.spec.embedding,
            vectors,
            done,
            info.checkpoint_name or None,
            info.checkpoint_hash or None,
            metadata=self.start.metadata,
        )

    def keep_start(self) -> None:
        """Writes what the run begins with into its folder, unless it is there. Raises StorageFailed."""
        from train_embedding.embeddings.formats import write_embedding

        file = self.state.folder / START_FILE
        if not file.exists():
            write_embedding(self.start, file)
