"""What lies in the embeddings folder, each file read once for as long as it does not change."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from train_embedding.errors import NotFound, UnreadableFile

logger = logging.getLogger(__name__)

Stamp = tuple[int, int, int, int]


@dataclass(frozen=True)
class Content:
    """What a file holds; the vectors themselves are not kept."""

    widths: dict[str, int] = field(default_factory=dict[str, int])
    family: str = ""
    vectors: int = 0
    step: int | None = None
    checkpoint: str | None = None
    problem: str = ""
    "Why the file cannot be read, a sentence; empty where it can."


class Listing:
    """A cache over a folder. Safe to call from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[Path, tuple[Stamp, Content]] = {}

    def scan(self, folder: Path) -> list[tuple[Path, Content]]:
        """Every embedding file in `folder` and below, in the order in which the WebUI walks.

        Symbolic links that lead outside stand in the list, with that as the problem, and are not followed.
        """
        with self._lock:
            found = [(path, self._content(path, problem)) for path, problem in _walk(folder)]
            present = {path for path, _ in found}
            self._known = {path: known for path, known in self._known.items() if path in present}
        return found

    def _content(self, path: Path, problem: str) -> Content:
        if problem:
            return Content(problem=problem)
        try:
            status = path.stat()
        except OSError as error:
            return Content(problem=f'"{path.name}" cannot be read: {error.strerror or error}.')
        # The change time tells of new permissions, the inode of a file moved into place within one tick of the clock.
        stamp = (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)
        known = self._known.get(path)
        if known is None or known[0] != stamp:
            known = self._known[path] = (stamp, _read(path))
        return known[1]


def embedding_files(folder: Path) -> list[Path]:
    """Every file in `folder` and below that is named like an embedding, links to folders outside left out."""
    return [path for path, _ in _walk(folder) if not path.is_dir()]


def link_problem(path: Path, root: Path) -> str:
    """Why a path cannot be used, a sentence: it is a link that leads out of `root`, a resolved folder; else nothing."""
    try:
        if not path.is_symlink() or path.resolve().is_relative_to(root):
            return ""
    except (OSError, RuntimeError) as error:
        return f'"{path.name}" is a link that cannot be followed: {error}.'
    return f'"{path.name}" is a link that leads outside the embeddings folder.'


def _read(path: Path) -> Content:
    from train_embedding.embeddings.formats import read_embedding

    try:
        embedding = read_embedding(path)
    except (UnreadableFile, NotFound) as error:
        return Content(problem=error.message)
    return Content(embedding.widths, embedding.family, embedding.count, embedding.step, embedding.checkpoint_name)


def _walk(folder: Path) -> Iterator[tuple[Path, str]]:
    """Paths of files that are named like embeddings, and of links to folders outside, each with its problem or ""."""
    from train_embedding.embeddings.formats import is_embedding_file

    root = folder.resolve()
    for parent, folders, files in os.walk(folder, onerror=_log):
        for name in files:
            path = Path(parent, name)
            if is_embedding_file(path):
                yield path, link_problem(path, root)
        for name in folders:
            path = Path(parent, name)
            problem = link_problem(path, root)
            if problem:
                yield path, problem


def _log(error: OSError) -> None:
    logger.warning("The folder %s cannot be listed: %s", error.filename, error)
