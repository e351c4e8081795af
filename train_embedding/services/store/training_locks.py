"""Embeddings that are being trained: each is held by its run, in whatever process, and stays where it is."""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from train_embedding.errors import Conflict
from train_embedding.services.store.locks import file_lock


class Holds:
    """A lock file per embedding in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def hold(self, name: str) -> Generator[None, None, None]:
        """Until exit nobody else can replace, rename or delete that embedding. Raises Conflict where another run holds it."""
        try:
            with file_lock(self._file(name)):
                yield
        except TimeoutError as error:
            raise Conflict(f'"{name}" is being trained already.', "Wait for the end of that run, or stop it.") from error

    def is_held(self, name: str) -> bool:
        file = self._file(name)
        if not file.exists():
            return False
        try:
            with file_lock(file):
                return False
        except TimeoutError:
            return True

    def refuse(self, name: str) -> None:
        """Raises Conflict where a run holds the embedding."""
        if self.is_held(name):
            raise Conflict(
                f'"{name}" is being trained, so its file must stay where it is.', "Wait for the end of the run, or stop it."
            )

    def _file(self, name: str) -> Path:
        return self._folder / f"{hashlib.sha256(name.encode('utf-8', 'replace')).hexdigest()[:16]}.lock"
