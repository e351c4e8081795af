"""The embeddings folder as it lies on the disk: files that are named like embeddings, and what stands beside each."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from train_embedding.embeddings.names import folded
from train_embedding.services.sidecars.files import grouped, is_plain, split

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Seen:
    """A file that is named like an embedding, or a link that leads outside, before anything is read."""

    path: Path
    name: str
    "The file's stem, or the whole name of a folder."
    folder: str
    'That it lies in, below the embeddings folder, with slashes, such as "styles/old"; empty for that folder itself.'
    status: os.stat_result | None
    "None where `problem` says why."
    problem: str = ""
    sidecars: tuple[str, ...] = ()
    "Names of the files in the same folder that belong to it."


def walk(folder: Path) -> Iterator[Seen]:
    """Every embedding file in `folder` and below, in the order in which the WebUI walks: files first, then subfolders.

    Symbolic links that lead outside come too, with that as their problem, and are not followed. Raises PermissionError where
    `folder` itself is closed, which must not pass for an empty one.
    """
    root = folder.resolve()
    if folder.is_dir() and not os.access(folder, os.R_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
    waiting = [(folder, "")]
    while waiting:
        parent, below = waiting.pop()
        files: list[os.DirEntry[str]] = []
        folders: list[os.DirEntry[str]] = []
        for entry in _entries(parent):
            (folders if _is_folder(entry) else files).append(entry)
        owned = grouped((entry.name for entry in files), parent)
        odd = {entry.name for entry in files if not (entry.is_file(follow_symlinks=False) or is_plain(Path(entry.path)))}
        for entry in files:
            if entry.name in owned:
                yield _seen(entry, below, root, tuple(sorted(set(owned[entry.name]) - odd)))
        for entry in folders:
            problem = link_problem(Path(entry.path), root) if entry.is_symlink() else ""
            if problem:
                yield Seen(Path(entry.path), entry.name, below, None, problem)
        inner = [(Path(entry.path), f"{below}/{entry.name}".lstrip("/")) for entry in folders if not entry.is_symlink()]
        waiting += reversed(inner)


def files_named(folder: Path, name: str) -> list[Path]:
    """Every embedding file in `folder` and below of that name in any case and Unicode form; links to folders are not followed."""
    wanted = folded(name)
    return [
        Path(parent, file)
        for parent, _, files in os.walk(folder)
        for file in grouped([file for file in files if folded(split(file)[0]) == wanted], Path(parent))
    ]


def embedding_names(folder: Path) -> set[str]:
    """The names of all embedding files in `folder` and below."""
    return {split(file)[0] for parent, _, files in os.walk(folder) for file in grouped(files, Path(parent))}


def link_problem(path: Path, root: Path) -> str:
    """Why a path cannot be used, a sentence: it is a link that leads out of `root`, a resolved folder; else nothing."""
    try:
        if not path.is_symlink() or path.resolve().is_relative_to(root):
            return ""
    except (OSError, RuntimeError) as error:
        return f'"{path.name}" is a link that cannot be followed: {error}.'
    return f'"{path.name}" is a link that leads outside the embeddings folder.'


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except FileNotFoundError:
        return []
    except OSError as error:
        logger.warning("The folder %s cannot be listed: %s", folder, error)
        return []


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, which reading then tells
        return False


def _seen(entry: os.DirEntry[str], folder: str, root: Path, sidecars: tuple[str, ...]) -> Seen:
    name = split(entry.name)[0]
    path = Path(entry.path)
    problem = link_problem(path, root) if entry.is_symlink() else ""
    if problem:
        return Seen(path, name, folder, None, problem, sidecars)
    try:
        return Seen(path, name, folder, entry.stat(), "", sidecars)
    except OSError as error:
        return Seen(path, name, folder, None, f'"{path.name}" cannot be read: {error.strerror or error}.', sidecars)
