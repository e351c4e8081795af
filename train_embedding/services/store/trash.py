"""The trash folder: what was deleted or overwritten, with all that belonged to it.

Each item is a folder named after the embedding and the time, and in it the files in the folders that they came from:
`sword.20261122-143000/styles/sword.pt`. A person can find and copy them without this program. A file that lies in the trash by
itself, `sword.20261122-143000.pt`, was put there by an early version, and is an item too.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from train_embedding.embeddings.storage import remove_file, remove_tree, replace_file, storage_failed
from train_embedding.errors import NotFound, StorageFailed
from train_embedding.services.sidecars.files import is_embedding
from train_embedding.services.store.leftovers import sweep, sweep_empty
from train_embedding.services.store.transaction import Change

logger = logging.getLogger(__name__)

_STAMP = "%Y%m%d-%H%M%S"
_ITEM = re.compile(r"(?P<name>.+)\.(?P<time>\d{8}-\d{6})(-\d+)?", re.DOTALL)
_MOST_OF_A_NAME = 200
"Bytes of an item's name, so that the time has room behind it; file systems allow 255 in all."
_LEAVING = ".emptied-"
"An item that is about to be deleted for good is renamed first, so that no half of it is ever shown."


@dataclass(frozen=True)
class Trashed:
    """An item of the trash."""

    id: str
    name: str
    file: str
    "Name of the embedding's file, or of whatever it is that lies there alone."
    folder: str
    "Where it came from, below the embeddings folder; empty for the folder itself."
    files: tuple[str, ...]
    "All of it, by the paths that it had below the embeddings folder."
    embeddings: tuple[str, ...]
    "Those of them that are embeddings."
    when: float
    "Seconds since 1970."
    size: int
    "Bytes of all files."


class Trash:
    """Items in `folder`. What it holds of the embeddings folder keeps the path it had there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def keeping(self, name: str, files: Sequence[Path], root: Path) -> Change:
        """The change that copies files below `root` into a new item, named after the embedding."""
        if not files:
            return Change()
        item = self._new_item(name)
        return Change(copies=tuple((file, item / file.relative_to(root)) for file in files))

    def taking(self, name: str, files: Sequence[Path], root: Path, copying: bool = False) -> Change:
        """The change that puts files below `root` into a new item, named after the embedding.

        copying: for a trash on another disk; it needs room for copies. Links are always copied as what they lead to.
        """
        item = self._new_item(name)
        copied = tuple(file for file in files if copying or file.is_symlink())
        return Change(
            copies=tuple((file, item / file.relative_to(root)) for file in copied),
            moves=tuple((file, item / file.relative_to(root)) for file in files if file not in copied),
            removes=copied,
        )

    def list(self) -> list[Trashed]:
        """The newest first."""
        items = [item for item in (_item(path) for path in self._paths()) if item is not None]
        return sorted(items, key=lambda item: (item.when, item.id), reverse=True)

    def get(self, trash_id: str) -> Trashed:
        """Raises NotFound."""
        for item in self.list():
            if item.id == trash_id:
                return item
        raise NotFound(f'There is nothing named "{trash_id}" in the trash.')

    def restoring(self, item: Trashed, root: Path, copying: bool = False) -> Change:
        """The change that puts an item's files back below `root`, and takes it out of the trash.

        copying: for a trash on another disk.
        """
        path, sources = self.folder / item.id, self.paths(item)
        if path.is_file():
            return Change(copies=((path, root / item.file),), removes=(path,))
        folders = sorted((one for one in path.rglob("*") if one.is_dir()), key=lambda one: len(one.parts), reverse=True)
        pairs = tuple((source, root / file) for source, file in zip(sources, item.files, strict=True))
        if copying:
            return Change(copies=pairs, removes=(*sources, *folders, path))
        return Change(moves=pairs, removes=(*folders, path))

    def paths(self, item: Trashed) -> Sequence[Path]:
        """Where its files lie now, in the order of `files`."""
        path = self.folder / item.id
        return [path] if path.is_file() else [path / file for file in item.files]

    def empty(self) -> int:
        """Deletes every item for good; answers how many there were. Raises StorageFailed."""
        items = self.list()
        for item in items:
            path = self.folder / item.id
            leaving = self.folder / f"{_LEAVING}{item.id}"
            try:
                if path.is_file():
                    remove_file(path)
                else:
                    replace_file(path, leaving)
            except OSError as error:
                raise storage_failed(path, error, "deleted") from error
        for leaving in self._paths():
            if not leaving.name.startswith(_LEAVING):
                continue
            try:
                remove_tree(leaving)
            except FileNotFoundError:  # another process empties the trash too
                continue
            except OSError as error:
                raise storage_failed(leaving, error, "deleted") from error
        return len(items)

    def sweep(self) -> None:
        """Removes what killed processes left here. Only while nobody else changes the trash. Never fails."""
        sweep(self.folder)
        try:
            for path in self._paths():
                if path.name.startswith(_LEAVING):
                    remove_tree(path)
                elif _ITEM.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
                    sweep_empty(path)
        except (OSError, StorageFailed) as error:
            logger.info("What was left behind in the trash cannot be removed now: %s", error)

    def _paths(self) -> Sequence[Path]:
        """What lies in the folder; nothing where there is none. Raises StorageFailed where it is closed."""
        try:
            return tuple(self.folder.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return ()
        except OSError as error:
            raise StorageFailed(
                f'The trash cannot be listed: "{self.folder}": {error.strerror or error}.', "Check the folder's permissions."
            ) from error

    def _new_item(self, name: str) -> Path:
        name = name.encode("utf-8", "surrogateescape")[:_MOST_OF_A_NAME].decode("utf-8", "ignore")
        item, number = self.folder / f"{name}.{time.strftime(_STAMP)}", 1
        while item.exists():
            number += 1
            item = self.folder / f"{name}.{time.strftime(_STAMP)}-{number}"
        return item


def _item(path: Path) -> Trashed | None:
    """What lies at a path of the trash folder, or None where that is no item."""
    whole = path.is_dir()
    match = _ITEM.fullmatch(path.name if whole else path.stem)
    when = _seconds(match["time"]) if match else None
    if match is None or when is None or path.is_symlink() or path.name.startswith(_LEAVING):
        return None
    inside = sorted(one for one in path.rglob("*") if one.is_file() and not one.is_symlink()) if whole else [path]
    files = [one for one in inside if not one.name.endswith(".tmp")]
    if not files:
        return None
    paths = [one.relative_to(path) for one in files] if whole else [Path(f"{match['name']}{path.suffix}")]
    embeddings = [one for one, file in zip(paths, files, strict=True) if is_embedding(file)]
    main = (embeddings or paths)[0]
    folder = main.parent.as_posix()
    return Trashed(
        id=path.name,
        name=match["name"],
        file=main.name,
        folder="" if folder == "." else folder,
        files=tuple(one.as_posix() for one in paths),
        embeddings=tuple(one.as_posix() for one in embeddings),
        when=when,
        size=sum(one.stat().st_size for one in files),
    )


def _seconds(text: str) -> float | None:
    try:
        return time.mktime(time.strptime(text, _STAMP))
    except (ValueError, OverflowError):
        return None
