"""A scan of the embeddings folder: the embedding files, and the files that belong to each."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from train_embedding.errors import cannot_read
from train_embedding.messages import NOTHING, Message
from train_embedding.services.sidecars.files import group_sidecars, may_be_opened, split_suffix
from train_embedding.services.store.paths import link_problem

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ScannedFile:
    """A file with the name of an embedding, or a link that leads outside. Its content is not read."""

    path: Path
    name: str
    "The file's stem, or the whole name of a folder."
    folder: str
    'The folder below the embeddings folder, with slashes, such as "styles/old"; empty for the embeddings folder itself.'
    status: os.stat_result | None
    "None if there is a `problem`."
    problem: Message = NOTHING
    "Why it cannot be read."
    sidecars: tuple[str, ...] = ()
    "Names of the files in the same folder that belong to it."


@dataclass(frozen=True, slots=True)
class ScannedFolder:
    """One folder at the time of a scan."""

    path: Path
    folder: str
    "As `ScannedFile.folder`."
    status: os.stat_result | None
    "Taken before its entries were read; None if the folder does not exist."
    names: frozenset[str]
    "Names of all files in it."
    files: tuple[ScannedFile, ...]


def scan_folders(root: Path) -> Iterator[ScannedFolder]:
    """Scan a folder and all folders below it, in the order of the WebUI: files first, then subfolders.

    Symbolic links that lead outside are listed with a problem, and are not followed.

    Raises:
        PermissionError: `root` cannot be read. It must not look like an empty folder.
    """
    resolved = root.resolve()
    if root.is_dir() and not os.access(root, os.R_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(root))
    waiting = [(root, "")]
    while waiting:
        parent, below = waiting.pop()
        status = _status(parent)
        folders: list[os.DirEntry[str]] = []
        files: dict[str, os.DirEntry[str]] = {}
        for entry in _entries(parent):
            if _is_folder(entry):
                folders.append(entry)
            else:
                files[entry.name] = entry
        unusable = {
            name for name, entry in files.items() if not (entry.is_file(follow_symlinks=False) or may_be_opened(Path(entry.path)))
        }
        owned = group_sidecars(files, parent)
        scanned = [
            _scanned(Path(entry.path), below, resolved, set(owned[name]) - unusable, entry)
            for name, entry in files.items()
            if name in owned
        ]
        for entry in folders:
            problem = link_problem(Path(entry.path), resolved) if entry.is_symlink() else NOTHING
            if problem:
                scanned.append(ScannedFile(Path(entry.path), entry.name, below, None, problem))
        yield ScannedFolder(parent, below, status, frozenset(files), tuple(scanned))
        inner = [(Path(entry.path), f"{below}/{entry.name}".lstrip("/")) for entry in folders if not entry.is_symlink()]
        waiting += reversed(inner)


def scan_files(folder: ScannedFolder, names: Iterable[str], root: Path) -> list[ScannedFile]:
    """Scan some files of a folder, without reading the folder.

    Args:
        folder: The folder.
        names: Names of existing files in it. For each name, all names that are the same up to the first dot must be included.
        root: The embeddings folder.
    """
    resolved = root.resolve()
    found: list[ScannedFile] = []
    for name, sidecars in group_sidecars(names, folder.path).items():
        plain = {sidecar for sidecar in sidecars if may_be_opened(folder.path / sidecar)}
        found.append(_scanned(folder.path / name, folder.folder, resolved, plain))
    return found


def _status(folder: Path) -> os.stat_result | None:
    try:
        return folder.stat()
    except OSError:
        return None


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
    except OSError:  # a link to itself, which is reported when it is read
        return False


def _scanned(path: Path, folder: str, root: Path, sidecars: set[str], entry: os.DirEntry[str] | None = None) -> ScannedFile:
    name, names = path.stem if entry is None else split_suffix(entry.name)[0], tuple(sorted(sidecars))
    problem = link_problem(path, root) if (entry or path).is_symlink() else NOTHING
    if problem:
        return ScannedFile(path, name, folder, None, problem, names)
    try:
        return ScannedFile(path, name, folder, (entry or path).stat(), NOTHING, names)
    except OSError as error:
        return ScannedFile(path, name, folder, None, cannot_read(path.name, error), names)
