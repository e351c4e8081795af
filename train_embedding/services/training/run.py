"""A run in progress: its spec, its state, of which every change is published, and its start embedding."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.metadata import VECTORS
from train_embedding.embeddings.storage import is_refused
from train_embedding.errors import StorageFailed, TrainEmbeddingError
from train_embedding.hosts.base import Host, HostInfo
from train_embedding.messages import Message, msg
from train_embedding.services.run_records import START_FILE, RunState

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)


class Run:
    """One run. `state`, `stop` and `stopping` are safe to use from any thread, the rest only from the thread that trains.

    Args:
        host: The host whose model is trained with.
        state: The state of the run before it begins or is resumed.
        start: The embedding that the run starts from.
    """

    def __init__(self, host: Host, state: RunState, start: Embedding) -> None:
        self.host = host
        self.spec = state.spec
        self.start = start
        self.trained_on: HostInfo | None = None
        "The host when training began; another checkpoint may be loaded by the time vectors are written."
        self._state = state
        self._lock = threading.Lock()
        self._saving = threading.Lock()
        self._stop = threading.Event()
        self._saved = True
        "Whether the last attempt to save the state succeeded."

    @property
    def state(self) -> RunState:
        with self._lock:
            return self._state

    @property
    def stopping(self) -> bool:
        """Whether somebody has stopped the run."""
        return self._stop.is_set()

    def stop(self) -> RunState:
        """Let the run end after its current step. A run that has ended is not changed."""
        with self._lock:
            if self._state.active:
                self._stop.set()
                self._state = replace(self._state, status="stopping")
            return self._state

    def publish(self, **changes: object) -> None:
        """Change fields of the state, and save it. A run that was stopped keeps the status "stopping".

        Raises:
            StorageFailed: The state cannot be saved. If another program has the file open, a note is added instead.
        """
        with self._lock:
            if self._state.status == "stopping" and changes.get("status") in ("preparing", "running"):
                del changes["status"]
            self._state = replace(self._state, **changes)
        self._save()

    def note(self, *sentences: Message, lasting: bool = False) -> None:
        """Add notes for the person who started the run, as `RunState.noting` does, and save them."""
        noting = self.state.noting(*sentences, lasting=lasting)
        if noting.notes != self.state.notes:
            self.publish(notes=noting.notes, lasting=noting.lasting)

    def embedding(self, vectors: dict[str, torch.Tensor], step: int) -> Embedding:
        """Return the vectors after a step of this run as an embedding, under the name of the trained one."""
        info = self.trained_on or self.host.info()
        return Embedding(
            self.spec.embedding,
            vectors,
            (self.start.step or 0) + step,
            info.checkpoint_name or None,
            info.checkpoint_hash or None,
            metadata={key: value for key, value in self.start.metadata.items() if key != VECTORS},
        )

    def save_start(self) -> None:
        """Write the start embedding to the run's folder, unless it exists there.

        Raises:
            StorageFailed: The file cannot be written.
        """
        from train_embedding.embeddings.formats import write_embedding

        file = self.state.folder / START_FILE
        if not file.exists():
            write_embedding(self.start, file)

    def end(self, failure: TrainEmbeddingError | None) -> None:
        """Set and save the final state of the run.

        Args:
            failure: The error that ended the run; None if it finished or was stopped.

        Raises:
            StorageFailed: The state cannot be saved.
        """
        with self._lock:
            state = self._state
            if failure is not None:
                ended = replace(state, status="failed", eta_seconds=None, eta_at_most=None)
                state = replace(ended, error=failure.message, hint=failure.hint)
            elif state.step < state.steps:
                state = state.stopped_early()
            else:
                state = replace(state, status="finished", eta_seconds=0.0, eta_at_most=0.0)
            self._state = state
        with self._saving:
            self.state.save()

    def _save(self) -> None:
        """Save the state. If another program has the file open, the run continues, with a note about it."""
        try:
            with self._saving:  # so that no earlier state is written over a later one
                self.state.save(patient=self._saved)
            self._saved = True
        except StorageFailed as error:
            if not is_refused(error):
                raise
            logger.warning("The progress of run %s could not be saved: %s", self._state.id, error)
            self._saved = False
            with self._lock:
                self._state = self._state.noting(
                    msg("Some progress was not saved: {problem} The run continued.", problem=error.message)
                )
