"""The trash folder: embeddings that were deleted or overwritten, with their sidecars.

Each item is a folder named after the embedding and the time. It holds the files in their original folders, such as
`sword.20261122-143000/styles/sword.pt`. You can find and copy them without this program. Early versions moved single files to the
trash, such as `sword.20261122-143000.pt`; each of these is an item too.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from train_embedding.embeddings.storage import remove_file, remove_tree, replace_file, storage_failed
from train_embedding.errors import NotFound, StorageFailed, cannot_read
from train_embedding.messages import msg
from train_embedding.services.sidecars.files import is_embedding
from train_embedding.services.store.leftovers import sweep, sweep_empty
from train_embedding.services.store.transaction import Change

logger = logging.getLogger(__name__)

TRASH, RUNS = "trash", "runs"
"""The folder of the trash, next to the runs folder, and its subfolder with deleted runs. A run's folder keeps its name."""
_STAMP = "%Y%m%d-%H%M%S"
_ITEM = re.compile(r"(?P<name>.+)\.(?P<time>\d{8}-\d{6})(-\d+)?", re.DOTALL)
_MAX_NAME = 200
"Largest number of bytes of the embedding's name in the name of an item. File systems allow 255, and the time is added."
_EMPTIED = ".emptied-"
"Prefix of items that are being deleted, so that partly deleted items are not listed."


@dataclass(frozen=True)
class Trashed:
    """An item in the trash."""

    id: str
    name: str
    file: str
    "Name of the embedding's file, or of the single file."
    folder: str
    "The folder that it came from, below the embeddings folder; empty for the embeddings folder itself."
    files: tuple[str, ...]
    "Paths of all files, as they were below the embeddings folder."
    embeddings: tuple[str, ...]
    "Those of `files` that are embeddings."
    when: float
    "Seconds since 1970."
    size: int
    "Bytes of all files."

    @property
    def has_sidecars(self) -> bool:
        """Whether there are other files than embeddings in the item."""
        return len(self.files) > len(self.embeddings)


@dataclass(frozen=True)
class Placed:
    """Where the files of an item go when it is restored."""

    files: tuple[str, ...]
    "Paths below the embeddings folder, in the order of `Trashed.files`."
    contents: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    "The new contents of those that change."


class Trash:
    """The items in `folder`. Files keep the paths that they had below the embeddings folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def plan_copy(self, name: str, files: Sequence[Path], root: Path) -> Change:
        """Return the change that copies files below `root` into a new item, named after the embedding."""
        if not files:
            return Change()
        item = self._new_item(name)
        return Change(copies=tuple((file, item / file.relative_to(root)) for file in files))

    def plan_move(self, name: str, files: Sequence[Path], root: Path, copying: bool = False) -> Change:
        """Return the change that moves files into a new item.

        Args:
            name: The embedding.
            files: Paths below `root`. Links are copied as what they lead to.
            root: The embeddings folder.
            copying: Whether to copy and delete the files, because the trash is on another disk.
        """
        item = self._new_item(name)
        copied = tuple(file for file in files if copying or file.is_symlink())
        return Change(
            copies=tuple((file, item / file.relative_to(root)) for file in copied),
            moves=tuple((file, item / file.relative_to(root)) for file in files if file not in copied),
            removes=copied,
        )

    def list(self) -> list[Trashed]:
        """List the items, the newest first."""
        items = [item for item in (_item(path) for path in self._paths()) if item is not None]
        return sorted(items, key=lambda item: (item.when, item.id), reverse=True)

    def get(self, trash_id: str) -> Trashed:
        """Return an item by its id. Raises NotFound."""
        for item in self.list():
            if item.id == trash_id:
                return item
        raise NotFound(msg('There is no item "{item}" in the trash.', item=trash_id))

    def plan_restore(self, item: Trashed, root: Path, copying: bool = False, placed: Placed | None = None) -> Change:
        """Return the change that moves the files of an item back below `root`.

        Args:
            item: The item.
            root: The embeddings folder.
            copying: Whether to copy and delete the files, because the trash is on another disk, or files are replaced or changed.
            placed: Where the files go; by default to where they were.
        """
        path, sources, placed = self.folder / item.id, self.paths(item), placed or Placed(item.files)
        targets = [root / file for file in placed.files]
        emptied: tuple[Path, ...] = ()
        if path.is_dir():
            folders = [found for found in path.rglob("*") if found.is_dir()]
            emptied = (*sorted(folders, key=lambda found: len(found.parts), reverse=True), path)
        if not copying and not placed.contents and emptied:
            return Change(moves=tuple(zip(sources, targets, strict=True)), removes=emptied)
        changed = {root / file: data for file, data in placed.contents.items()}
        return Change(
            writes=tuple(changed.items()),
            copies=tuple(pair for pair in zip(sources, targets, strict=True) if pair[1] not in changed),
            removes=(*sources, *emptied),
        )

    def paths(self, item: Trashed) -> Sequence[Path]:
        """Return where the files of an item are now, in the order of `files`."""
        path = self.folder / item.id
        return [path] if path.is_file() else [path / file for file in item.files]

    def empty(self) -> int:
        """Delete all items and all deleted runs permanently, and return how many there were. Raises StorageFailed."""
        paths = [self.folder / item.id for item in self.list()] + self._runs()
        for path in paths:
            emptied = self.folder / f"{_EMPTIED}{path.name}"
            try:
                if path.is_file():
                    remove_file(path)
                else:
                    replace_file(path, emptied)
            except OSError as error:
                raise storage_failed(path, error, "deleted") from error
        for emptied in self._paths():
            if not emptied.name.startswith(_EMPTIED):
                continue
            try:
                remove_tree(emptied)
            except FileNotFoundError:  # another process is emptying the trash too
                continue
            except OSError as error:
                raise storage_failed(emptied, error, "deleted") from error
        return len(paths)

    def sweep(self) -> None:
        """Remove what killed processes left behind. Call this while no other process changes the trash. Never fails."""
        sweep(self.folder)
        try:
            for path in self._paths():
                if path.name.startswith(_EMPTIED):
                    remove_tree(path)
                elif _ITEM.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
                    sweep_empty(path)
        except (OSError, StorageFailed) as error:
            logger.info("What was left behind in the trash cannot be removed now: %s", error)

    def _runs(self) -> list[Path]:
        """List the folders of deleted runs."""
        folder = self.folder / RUNS
        return [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []

    def _paths(self) -> Sequence[Path]:
        """List the folder; empty if it does not exist. Raises StorageFailed if it cannot be read."""
        try:
            return tuple(self.folder.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return ()
        except OSError as error:
            raise StorageFailed(cannot_read(self.folder, error), msg("Check the permissions of the folder.")) from error

    def _new_item(self, name: str) -> Path:
        name = name.encode("utf-8", "surrogateescape")[:_MAX_NAME].decode("utf-8", "ignore")
        item, number = self.folder / f"{name}.{time.strftime(_STAMP)}", 1
        while item.exists():
            number += 1
            item = self.folder / f"{name}.{time.strftime(_STAMP)}-{number}"
        return item


def _item(path: Path) -> Trashed | None:
    """Return the item at a path in the trash folder; None if it is not an item."""
    is_folder = path.is_dir()
    match = _ITEM.fullmatch(path.name if is_folder else path.stem)
    when = _seconds(match["time"]) if match else None
    if match is None or when is None or path.is_symlink() or path.name.startswith(_EMPTIED):
        return None
    inside = sorted(file for file in path.rglob("*") if file.is_file() and not file.is_symlink()) if is_folder else [path]
    files = [file for file in inside if not file.name.endswith(".tmp")]
    if not files:
        return None
    paths = [file.relative_to(path) for file in files] if is_folder else [Path(f"{match['name']}{path.suffix}")]
    embeddings = [kept for kept, file in zip(paths, files, strict=True) if is_embedding(file)]
    main = (embeddings or paths)[0]
    folder = main.parent.as_posix()
    return Trashed(
        id=path.name,
        name=match["name"],
        file=main.name,
        folder="" if folder == "." else folder,
        files=tuple(kept.as_posix() for kept in paths),
        embeddings=tuple(kept.as_posix() for kept in embeddings),
        when=when,
        size=sum(file.stat().st_size for file in files),
    )


def _seconds(text: str) -> float | None:
    try:
        return time.mktime(time.strptime(text, _STAMP))
    except (ValueError, OverflowError):
        return None
