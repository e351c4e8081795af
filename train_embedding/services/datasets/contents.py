"""Changes of datasets: created, filled, emptied into the trash, and with images excluded from training."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from train_embedding.embeddings.names import check_name
from train_embedding.embeddings.regular_files import read_regular_file
from train_embedding.embeddings.storage import (
    remove_tree,
    storage_failed,
    temporary_key,
    write_atomically,
)
from train_embedding.errors import Conflict, InvalidInput, NotAllowed, NotFound, UnreadableFile
from train_embedding.hosts.base import Host, HostInfo
from train_embedding.images.kinds import SUFFIXES
from train_embedding.messages import SPACE, Message, joined, msg, plural
from train_embedding.services.datasets.incoming import Staged, Upload, stage
from train_embedding.services.store.transaction import Change, Journal
from train_embedding.services.store.trash import Trash, Trashed

DATASETS = "datasets"
"The folder of datasets, next to the runs folder."
CHANGES = "dataset-changes"
"Next to the runs folder: the journal of a change in progress, for each dataset."
TRASH = "dataset-trash"
"Next to the runs folder: removed images, for each dataset."
WHOLE = "whole"
"The trash of whole datasets."
MASKS = "masks"
"The trash of masks that were replaced or removed alone, for each dataset."
_NAMED = 3
"Number of files that a sentence names."
MASK_END = "-masklabel"
"The end of the stem of a mask."


@dataclass(frozen=True)
class NamedDataset:
    """A dataset in the data folder."""

    name: str
    folder: Path
    images: int

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, as the API answers them."""
        return {"name": self.name, "folder": str(self.folder), "images": self.images}


@dataclass(frozen=True)
class Added:
    """The outcome of adding files to a dataset."""

    folder: Path
    files: tuple[str, ...]
    "Names of the files that were added."
    known: tuple[str, ...] = ()
    "Names of files that were there already, with the same content."
    skipped: tuple[tuple[str, Message], ...] = ()
    "Names of files that were not added, with the reasons."

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, as the API answers them."""
        skipped = [{"file": name, "reason": reason} for name, reason in self.skipped]
        return {"folder": str(self.folder), "added": list(self.files), "known": list(self.known), "skipped": skipped}


def datasets_folder(info: HostInfo) -> Path:
    """Return the folder of named datasets: next to the runs folder, where no host serves files."""
    return info.runs_folder.parent / DATASETS


class Contents:
    """Changes the files of datasets. Each change is made completely or not at all. Safe to use from any thread.

    Args:
        host: The host with the data folder.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._lock = threading.RLock()

    @property
    def root(self) -> Path:
        """The folder of named datasets."""
        return datasets_folder(self._host.info())

    def list(self) -> list[NamedDataset]:
        """Return the datasets in the data folder, by name."""
        from train_embedding.engine.data.image_folder import find_images

        found: list[NamedDataset] = []
        try:
            folders = sorted(self.root.iterdir(), key=lambda folder: folder.name.casefold())
        except FileNotFoundError:
            return []
        for folder in folders:
            if folder.name.startswith(".") or not folder.is_dir() or folder.is_symlink():
                continue
            try:
                found.append(NamedDataset(folder.name, folder, len(find_images(folder))))
            except (NotFound, NotAllowed):  # removed meanwhile, or not readable
                continue
        return found

    def names(self) -> tuple[str, ...]:
        """Return the names of the datasets in the data folder, without looking into them."""
        try:
            with os.scandir(self.root) as entries:
                folders = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError:  # it does not exist yet
            return ()
        return tuple(sorted((name for name in folders if not name.startswith(".")), key=str.casefold))

    def path_of(self, name: str) -> Path:
        """Return the folder of a named dataset, whether or not it exists. Raises InvalidName."""
        check_name(name)
        return self.root / name

    def create(self, name: str) -> Path:
        """Create an empty dataset in the data folder.

        Raises:
            InvalidName: The name cannot be that of a folder.
            Conflict: There is one of this name.
            StorageFailed: The folder cannot be created.
        """
        folder = self.path_of(name)
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            folder.mkdir()
        except FileExistsError as error:
            raise Conflict(
                msg('There is already a dataset "{name}".', name=name), msg("Choose another name, or add images to it.")
            ) from error
        except OSError as error:
            raise storage_failed(folder, error) from error
        return folder

    def add(self, folder: Path, uploads: Sequence[Upload]) -> Added:
        """Add files to a dataset: images, captions, masks, and zip archives of them.

        Args:
            folder: The dataset, which exists.
            uploads: The files.

        Raises:
            InvalidInput: There are no files, or an archive is refused.
            UnreadableFile: An archive is damaged.
            StorageFailed: Files cannot be written; nothing was added.
        """
        if not uploads:
            raise InvalidInput(msg("No files were given."), msg("Select images, or a zip archive of them."))
        with self._staging(folder) as staging:
            staged = stage(uploads, staging)
            if not staged.files:
                raise _nothing_added(staged)
            with self._exclusive(folder) as journal:
                return self._keep(folder, staged, journal)

    def remove(self, folder: Path, files: Sequence[Path], title: str) -> int:
        """Move images with their captions and masks to the trash; return the number of files.

        Args:
            folder: The dataset.
            files: The images.
            title: What the item in the trash is named after.

        Raises:
            StorageFailed: Nothing was moved.
        """
        moved = files_with_companions(files)
        trash = self._trash(folder)
        with self._exclusive(folder) as journal:
            journal.commit_move(lambda copying: trash.plan_move(title, moved, folder, copying))
        return len(moved)

    def removed(self, folder: Path) -> list[Trashed]:
        """Return what was removed from a dataset, the newest first."""
        return self._trash(folder).list()

    def restore(self, folder: Path, item: str = "") -> Trashed:
        """Move removed images back.

        Args:
            folder: The dataset.
            item: The id of the item; empty for the newest.

        Raises:
            NotFound: There is no such item, or nothing was removed.
            Conflict: A file of the same name exists.
            StorageFailed: Nothing was moved.
        """
        trash, items = self._trash(folder), self.removed(folder)
        if not items:
            raise NotFound(msg('Nothing was removed from "{folder}".', folder=folder.name))
        chosen = trash.get(item) if item else items[0]
        with self._exclusive(folder) as journal:
            journal.commit_move(lambda copying: trash.plan_restore(chosen, folder, copying))
        return chosen

    def delete(self, folder: Path) -> None:
        """Move a whole dataset of the data folder to the trash.

        Raises:
            NotAllowed: It is a folder of the user's.
            StorageFailed: Nothing was moved.
        """
        if folder.parent != self.root.resolve() and folder.parent != self.root:
            raise NotAllowed(
                msg('"{folder}" is your own folder, so it is not removed as a whole.', folder=folder),
                msg("Remove images of it, or delete the folder yourself."),
            )
        inside = sorted(folder.rglob("*"), key=lambda path: len(path.parts), reverse=True)
        files = [path for path in inside if not path.is_dir() or path.is_symlink()]
        folders = [path for path in inside if path not in files]
        trash = self._whole_trash()
        with self._exclusive(folder) as journal:
            emptied = Change(removes=(*folders, folder))
            if not files:
                journal.commit(emptied)
                return
            journal.commit_move(lambda copying: trash.plan_move(folder.name, files, folder.parent, copying) + emptied)

    def deleted(self) -> list[Trashed]:
        """Return the datasets of the data folder that were deleted as a whole, the newest first."""
        return self._whole_trash().list()

    def undelete(self, item: str = "") -> Path:
        """Bring a deleted dataset back, and return its folder.

        Args:
            item: The id of the item; empty for the newest.

        Raises:
            NotFound: There is no such item, or no dataset was deleted.
            Conflict: There is a dataset of this name.
            StorageFailed: Nothing was moved.
        """
        trash, items = self._whole_trash(), self.deleted()
        if not items:
            raise NotFound(msg("No dataset was deleted."))
        chosen = trash.get(item) if item else items[0]
        folder = self.root / Path(chosen.files[0]).parts[0]
        if os.path.lexists(folder):
            raise Conflict(
                msg('There is already a dataset "{name}".', name=folder.name), msg("Rename or delete it, then try again.")
            )
        with self._exclusive(folder) as journal:
            journal.commit_move(lambda copying: trash.plan_restore(chosen, folder.parent, copying))
        return folder

    def exclude(self, files: Sequence[Path], excluded: bool) -> None:
        """Exclude images from training, or include them again.

        Raises:
            UnreadableFile: The list of excluded images cannot be read.
            StorageFailed: The list cannot be written.
        """
        from train_embedding.engine.data.exclusions import EXCLUDED_FILE, format_excluded, read_excluded
        from train_embedding.engine.data.file_names import displayable

        by_folder: dict[Path, set[str]] = {}
        for file in files:
            by_folder.setdefault(file.parent, set()).add(displayable(file.name))
        with self._lock:
            for folder, names in by_folder.items():
                before = read_excluded(folder)
                after = before | names if excluded else before - names
                if after != before:
                    write_atomically(folder / EXCLUDED_FILE, format_excluded(after))

    @contextmanager
    def change(self, folder: Path) -> Generator[Journal, None, None]:
        """Keep others from changing a dataset until exit, and yield what makes changes of its files."""
        with self._exclusive(folder) as journal:
            yield journal

    def own_folder(self, folder: Path) -> Path:
        """Return the folder for what is remembered about a dataset."""
        return self._host.info().runs_folder.parent / CHANGES / _key(folder)

    def mask_trash(self, folder: Path) -> Trash:
        """Return the trash of masks that were replaced or removed."""
        return Trash(self._host.info().runs_folder.parent / TRASH / MASKS / _key(folder))

    def _whole_trash(self) -> Trash:
        return Trash(self._host.info().runs_folder.parent / TRASH / WHOLE)

    def _trash(self, folder: Path) -> Trash:
        return Trash(self._host.info().runs_folder.parent / TRASH / _key(folder))

    @contextmanager
    def _exclusive(self, folder: Path) -> Generator[Journal, None, None]:
        within = (folder, folder.parent, self._host.info().runs_folder.parent / TRASH, self.own_folder(folder))
        journal = Journal(self.own_folder(folder), within)
        with self._lock, journal.exclusive():
            yield journal

    @contextmanager
    def _staging(self, folder: Path) -> Generator[Path, None, None]:
        """Yield an empty folder inside a dataset, which is removed at exit."""
        staging = folder / f".{temporary_key()}.tmp"
        try:
            staging.mkdir()
        except OSError as error:
            raise storage_failed(staging, error) from error
        try:
            yield staging
        finally:
            remove_tree(staging)

    def _keep(self, folder: Path, staged: Staged, journal: Journal) -> Added:
        """Move staged files into the dataset. Those with the name of another file get a number, together with their caption."""
        present = {name.casefold(): name for name in os.listdir(folder)}
        known = [name for name in staged.files if _is_same(folder / present.get(name.casefold(), ""), staged.folder / name)]
        fresh, skipped = [name for name in staged.files if name not in known], list(staged.skipped)
        stems = {stem_of(name) for name in fresh if Path(name).suffix.lower() in SUFFIXES and not is_mask(name)}
        for name in [name for name in fresh if stem_of(name) not in stems and name.casefold() in present]:
            skipped.append((name, msg("There is already another file of this name.")))
            fresh.remove(name)
        taken = {stem_of(name).casefold() for name in present.values()}
        new_stems = {stem_of(name).casefold() for name in fresh}
        renamed = {stem: _free_stem(stem, taken | new_stems) for stem in sorted(stems) if stem.casefold() in taken}
        moves: list[tuple[Path, Path]] = []
        for name in fresh:
            stem = stem_of(name)
            target = f"{renamed[stem]}{name[len(stem) :]}" if stem in renamed else name
            moves.append((staged.folder / name, folder / target))
        if moves:
            journal.commit(Change(moves=tuple(moves)) + _without_crops(folder, [target.name for _, target in moves]))
        return Added(folder, tuple(target.name for _, target in moves), tuple(known), tuple(skipped))


def _without_crops(folder: Path, names: Sequence[str]) -> Change:
    """Return the change that removes what is left of the crops of removed images with these names."""
    from train_embedding.engine.data.crops import CROPS_FILE, format_crops, read_crops

    try:
        crops = read_crops(folder)
    except UnreadableFile:  # the check of the dataset reports it
        return Change()
    kept = {name: crop for name, crop in crops.items() if name not in names}
    if len(kept) == len(crops):
        return Change()
    file = folder / CROPS_FILE
    return Change(writes=((file, format_crops(kept)),), replaces=(file,))


def is_mask(name: str) -> bool:
    """Return whether a file is the mask of an image."""
    return Path(name).stem.endswith(MASK_END)


def stem_of(name: str) -> str:
    """Return what the names of an image, its caption and its mask have in common."""
    return Path(name).stem.removesuffix(MASK_END)


def files_with_companions(images: Sequence[Path]) -> list[Path]:
    """Return images with their captions and masks, except those that another image in the folder shares."""
    from train_embedding.engine.data.captions import caption_path
    from train_embedding.engine.data.image import mask_path
    from train_embedding.engine.data.image_folder import find_images

    leaving, found = set(images), list(dict.fromkeys(images))
    staying = {
        (parent, file.stem) for parent in {file.parent for file in images} for file in find_images(parent) if file not in leaving
    }
    for image in images:
        if (image.parent, image.stem) in staying:
            continue
        found += [path for path in (caption_path(image), mask_path(image)) if os.path.lexists(path) and path not in found]
    return found


def _nothing_added(staged: Staged) -> InvalidInput:
    """Return the error for files of which none can be added."""
    reasons = [msg('"{name}": {reason}', name=name, reason=reason) for name, reason in staged.skipped[:_NAMED]]
    more = len(staged.skipped) - _NAMED
    if more > 0:
        reasons.append(plural("{count} more file was skipped.", "{count} more files were skipped.", more))
    return InvalidInput(joined((msg("Nothing was added."), *reasons), SPACE), msg("Select images, or a zip archive of them."))


def _free_stem(stem: str, taken: set[str]) -> str:
    number = 2
    while f"{stem}-{number}".casefold() in taken:
        number += 1
    return f"{stem}-{number}"


def _is_same(file: Path, other: Path) -> bool:
    """Whether two files have the same content."""
    try:
        size = other.stat().st_size
        if not file.is_file() or file.stat().st_size != size:
            return False
        return read_regular_file(file, size) == read_regular_file(other, size)
    except OSError:
        return False


def _key(folder: Path) -> str:
    """Return a folder name that stands for a path."""
    digest = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:12]
    return f"{folder.name[:40].encode('ascii', 'replace').decode().replace('?', '_').strip('. ') or 'dataset'}-{digest}"
