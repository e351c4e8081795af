"""The embeddings folder: embeddings are written, renamed, deleted and restored together with their sidecars."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from train_embedding.embeddings.storage import is_full
from train_embedding.errors import NotFound, StorageFailed
from train_embedding.hosts.base import Host
from train_embedding.messages import msg
from train_embedding.services.sidecars.files import belongs_to_file, select_previews
from train_embedding.services.store.leftovers import sweep
from train_embedding.services.store.locks import TrainingLocks
from train_embedding.services.store.paths import check_inside, resolve_folder
from train_embedding.services.store.transaction import Change, Journal, already_exists
from train_embedding.services.store.trash import TRASH, Placed, Trash, Trashed

OWN_FOLDER = "library"
"Next to the runs folder: the index, the journal of a change in progress, and locks. It may be deleted while no change is made."
TRAINING_LOCKS = "held"
"The subfolder for locks of embeddings that are being trained."
_WITHOUT_SPACE = msg("Empty the trash, or use `train-embedding delete --permanently`. Neither needs free space.")


@dataclass(frozen=True)
class EmbeddingFiles:
    """An embedding file and the files that belong to it."""

    file: Path
    sidecars: tuple[Path, ...] = ()
    shared: bool = False
    "Whether another embedding in the folder has the same stem, so that most sidecars belong to both."

    @property
    def own_sidecars(self) -> tuple[Path, ...]:
        """The sidecars that belong to no other embedding."""
        return tuple(path for path in self.sidecars if not self.shared or belongs_to_file(path, self.file))


class EmbeddingStore:
    """Files below the host's embeddings folder, its trash and its locks.

    The store handles files, not embeddings: its methods take bytes, and paths that the library has resolved. Safe to use from any
    thread, and from several processes.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._lock = threading.RLock()
        self._swept = False

    @property
    def root(self) -> Path:
        """The embeddings folder."""
        return self._host.info().embeddings_folder

    @property
    def own_folder(self) -> Path:
        """The folder for the index, the journal and locks."""
        return self._host.info().runs_folder.parent / OWN_FOLDER

    @property
    def training_locks(self) -> TrainingLocks:
        """Which embeddings are being trained."""
        return TrainingLocks(self.own_folder / TRAINING_LOCKS)

    @property
    def trash(self) -> Trash:
        """The trash. It is next to the runs folder, where no host looks for embeddings."""
        return Trash(self._host.info().runs_folder.parent / TRASH)

    def recover(self) -> None:
        """Finish a change of a process that was killed."""
        self._journal().recover()

    @contextmanager
    def transaction(self) -> Generator[StoreTransaction, None, None]:
        """Keep all others from changing files until exit.

        Raises:
            Conflict: Another process does not finish its change in time.
            StorageFailed: The lock or the journal cannot be written.
        """
        journal = self._journal()
        with self._lock, journal.exclusive():
            if not self._swept:
                self._swept = True
                self._sweep()
            yield StoreTransaction(self.root, journal, self.trash, self.training_locks)

    @contextmanager
    def lock_for_training(self, name: str) -> Generator[None, None, None]:
        """Keep all but its run from changing the file of an embedding until exit.

        Raises:
            Conflict: Another run is training it.
        """
        with ExitStack() as stack:
            with self.transaction():  # wait for a change in progress, so that the run reads its result
                stack.enter_context(self.training_locks.hold(name))
            yield

    def _journal(self) -> Journal:
        return Journal(self.own_folder, (self.root, self.trash.folder, self.own_folder))

    def _sweep(self) -> None:
        """Remove temporary files of killed processes. Called once per process, inside the lock."""
        sweep(self.root)
        sweep(self.own_folder)
        self.trash.sweep()


class StoreTransaction:
    """Changes of the store that no other process interferes with. Each change is made completely or not at all.

    Every method raises StorageFailed if files cannot be written, and then nothing has changed.
    """

    def __init__(self, root: Path, journal: Journal, trash: Trash, training_locks: TrainingLocks) -> None:
        self._root = root
        self._journal = journal
        self._trash = trash
        self._training_locks = training_locks
        self.changed: list[Path] = []
        "The paths at which files were written, moved or removed."

    def write(
        self,
        target: Path,
        data: bytes,
        *,
        replaced: Sequence[Path] = (),
        sidecars: Sequence[tuple[Path, bytes]] = (),
        overwrite: bool = False,
    ) -> None:
        """Write an embedding file, and move the files that it replaces to the trash; their sidecars stay.

        Args:
            target: The file.
            data: Its content.
            replaced: The files that are replaced, with names as in the folder.
            sidecars: Paths and contents of files to write next to it. Files of these names, and previews that a new preview
                hides, go to the trash.
            overwrite: Whether to replace an image without an embedding that has the name of the new file.

        Raises:
            Conflict: Another file has that name, and `overwrite` is not given.
            InvalidName: A sidecar would be written through a link that leads outside.
        """
        exists = target.exists()
        others = [path for path in replaced if path != target and not (exists and path.samefile(target))]
        if exists and not overwrite:
            raise already_exists(target)
        hidden = self._hidden_by(target, [path for path, _ in sidecars]) if overwrite and sidecars else []
        plain_image = [target] if exists and len(others) == len(replaced) else []
        old = [path for path in dict.fromkeys([*hidden, *plain_image]) if path not in replaced]
        targets = [path for path, _ in sidecars] + [target]
        change = Change(
            writes=(*sidecars, (target, data)),
            removes=(*others, *(path for path in old if path not in targets)),
            replaces=(*(path for path in old if path in targets and path != target), *([target] if exists else [])),
        )
        self._commit(self._trash.plan_copy(target.stem, [*replaced, *old], self._root) + change)

    def rewrite(self, file: Path, data: bytes) -> None:
        """Replace the content of a file; the old file goes to the trash. Raises NotFound, Conflict if it is being trained."""
        self.check_free_to_move(file)
        change = Change(writes=((file, data),), replaces=(file,))
        self._commit(self._trash.plan_copy(file.stem, [file], self._root) + change)

    def rename(
        self, files: EmbeddingFiles, target: Path, data: bytes | None = None, sidecars: Sequence[tuple[Path, bytes]] = ()
    ) -> None:
        """Rename an embedding with its sidecars, and write files next to it, in one change.

        Args:
            files: The embedding.
            target: Its new path, in the same folder.
            data: The new content of the file, if it changes; the old content goes to the trash.
            sidecars: Paths and contents of files to write, under the old name. Previews that a new preview hides
                go to the trash.

        Raises:
            NotFound: The file does not exist.
            Conflict: A file has one of the new names, or the embedding is being trained.
        """
        file, new_name = files.file, target.stem
        self.check_free_to_move(file)
        written, old = dict(sidecars), self._replaced_previews(files, sidecars)
        copied = [path for path in files.sidecars if path not in files.own_sidecars]
        moved = files.own_sidecars
        gone = [path for path in moved if path in written or path in old]
        pairs = {path: _renamed(path, file, new_name) for path in (*copied, *moved, *written)}
        same = [path for path in gone if _is_same_file(path, pairs[path])]
        change = Change(
            writes=tuple((pairs[path], content) for path, content in written.items()),
            copies=tuple((path, pairs[path]) for path in copied if path not in written and path not in old),
            moves=tuple((path, pairs[path]) for path in moved if path not in gone),
            removes=tuple(path for path in gone if path not in same),
            replaces=tuple(pairs[path] for path in same),
        )
        kept = self._trash.plan_copy(file.stem, [*old, *([] if data is None else [file])], self._root)
        itself = Change(moves=((file, target),)) if data is None else Change(writes=((target, data),), removes=(file,))
        self._commit(kept + change + itself)

    def copy(self, files: EmbeddingFiles, target: Path, data: bytes | None = None) -> None:
        """Copy an embedding with its sidecars.

        Args:
            files: The embedding.
            target: The path of the copy.
            data: The content of the copy, if it differs.

        Raises:
            NotFound: The file does not exist.
            Conflict: A file has one of the new names.
        """
        self.check_exists(files.file)
        pairs = tuple((path, _renamed(path, files.file, target.stem)) for path in files.sidecars)
        itself = Change(copies=((files.file, target),)) if data is None else Change(writes=((target, data),))
        self._commit(itself + Change(copies=pairs))

    def delete(self, files: EmbeddingFiles, *, permanently: bool = False) -> None:
        """Move an embedding to the trash, or delete it permanently. Raises NotFound, and Conflict while it is being trained."""
        self.check_free_to_move(files.file)
        every = (files.file, *files.own_sidecars)
        if permanently:
            self._commit(Change(removes=every))
            return
        try:
            self._commit_move(lambda copying: self._trash.plan_move(files.file.stem, every, self._root, copying))
        except StorageFailed as error:
            if is_full(error):
                raise StorageFailed(error.message, _WITHOUT_SPACE) from error
            raise

    def restore(self, item: Trashed, placed: Placed | None = None, replaced: Sequence[Path] = ()) -> list[Path]:
        """Move an item of the trash back, and return its embedding files.

        Args:
            item: The item.
            placed: Where its files go; by default to where they were.
            replaced: Files of the embeddings folder that go to the trash in the same change.

        Raises:
            Conflict: Another file has the name of one of its files.
            InvalidName: A file that is replaced is a link that leads outside.
        """
        placed = placed or Placed(item.files)
        for file in placed.files:
            resolve_folder((self._root / file).parent, self._root)
        for path in replaced:
            check_inside(path, self._root)
        in_one_go = bool(placed.contents) or any(path.is_symlink() for path in replaced)
        self._commit_move(lambda copying: self._plan_restore(item, placed, replaced, copying or in_one_go))
        return [self._root / new for file, new in zip(item.files, placed.files, strict=True) if file in item.embeddings]

    def write_sidecars(self, files: EmbeddingFiles, sidecars: Sequence[tuple[Path, bytes]]) -> None:
        """Write files next to an embedding in one change; previews that a new preview hides go to the trash. Raises NotFound."""
        self.check_exists(files.file)
        if not sidecars:
            return
        paths, old = [path for path, _ in sidecars], self._replaced_previews(files, sidecars)
        change = Change(
            writes=tuple(sidecars),
            removes=tuple(path for path in old if path not in paths),
            replaces=tuple(path for path in paths if path.exists()),
        )
        self._commit(self._trash.plan_copy(files.file.stem, old, self._root) + change)

    def check_free_to_move(self, file: Path) -> None:
        """Raise NotFound if a file does not exist, InvalidName for a link that leads outside, Conflict if it is being trained."""
        self.check_exists(file)
        self._training_locks.check_free(file.stem)

    def check_exists(self, file: Path) -> None:
        """Raise NotFound if a file does not exist, and InvalidName for a link that leads outside."""
        check_inside(file, self._root)
        if not file.is_file():
            raise NotFound(msg('"{file}" no longer exists.', file=file))

    def _commit(self, change: Change) -> None:
        self._journal.commit(change)
        self.changed += change.paths

    def _commit_move(self, plan: Callable[[bool], Change]) -> None:
        self.changed += self._journal.commit_move(plan).paths

    def _plan_restore(self, item: Trashed, placed: Placed, replaced: Sequence[Path], copying: bool) -> Change:
        change = self._trash.plan_restore(item, self._root, copying, placed)
        if not replaced:
            return change
        name = replaced[0].stem
        if change.moves:
            return self._trash.plan_move(name, replaced, self._root) + change
        targets = [target for target, _ in change.writes] + [target for _, target in change.copies]
        overwritten = [target for target in targets if any(_is_same_file(target, path) for path in replaced)]
        left = [path for path in replaced if not any(_is_same_file(target, path) for target in targets)]
        return (
            self._trash.plan_copy(name, replaced, self._root) + change + Change(removes=tuple(left), replaces=tuple(overwritten))
        )

    def _replaced_previews(self, files: EmbeddingFiles, sidecars: Sequence[tuple[Path, bytes]]) -> list[Path]:
        """Return the previews of an embedding that a new preview replaces."""
        stem = files.file.stem
        if not select_previews(stem, [path.name for path, _ in sidecars]):
            return []
        return [files.file.with_name(name) for name in select_previews(stem, [path.name for path in files.sidecars])]

    def _hidden_by(self, file: Path, sidecars: Sequence[Path]) -> list[Path]:
        """Return the files that have the names of new sidecars, and the previews that a new preview replaces."""
        for path in sidecars:
            check_inside(path, self._root)
        names = os.listdir(file.parent) if file.parent.is_dir() else []
        shown = select_previews(file.stem, names) if select_previews(file.stem, [path.name for path in sidecars]) else []
        existing = [path for path in sidecars if path.name in names]
        return list(dict.fromkeys([*existing, *(file.with_name(name) for name in shown)]))


def _renamed(sidecar: Path, file: Path, new_name: str) -> Path:
    return sidecar.with_name(f"{new_name}{sidecar.name[len(file.stem) :]}")


def _is_same_file(path: Path, other: Path) -> bool:
    """Whether two names are one file, as on file systems that ignore case."""
    return path == other or (path.exists() and other.exists() and other.samefile(path))
