"""The trash folder: what an overwritten file is kept in."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from train_embedding.embeddings.storage import copy_flushed, storage_failed


@contextmanager
def replacing(existing: Sequence[Path], target: Path, trash: Path) -> Generator[None, None, None]:
    """Keeps copies of `existing` in `trash` while the body writes `target`; then only `target` is left of the name.

    Where the body fails, `existing` stands as it was and the copies are removed. Raises StorageFailed.
    """
    copies: list[Path] = []
    try:
        for path in existing:
            copy = _free_name(trash, path)
            copy_flushed(path, copy)
            copies.append(copy)
        yield
    except BaseException:
        for copy in copies:
            copy.unlink(missing_ok=True)
        raise
    for path in existing:
        try:
            # Names that differ in case are one file on some systems.
            if path.exists() and not path.samefile(target):
                path.unlink()
        except OSError as error:
            raise storage_failed(path, error) from error


def _free_name(trash: Path, path: Path) -> Path:
    stamp = time.strftime("%Y%m%d-%H%M%S")
    candidate, number = trash / f"{path.stem}.{stamp}{path.suffix}", 1
    while candidate.exists():
        number += 1
        candidate = trash / f"{path.stem}.{stamp}-{number}{path.suffix}"
    return candidate
