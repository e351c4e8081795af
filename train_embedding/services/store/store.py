"""The embeddings folder, changed safely: each change takes along what belongs to an embedding, and happens wholly or not."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from train_embedding.embeddings.names import folded, path_for
from train_embedding.embeddings.storage import is_full, is_on_another_disk
from train_embedding.errors import Conflict, InvalidInput, InvalidName, NotFound, StorageFailed
from train_embedding.hosts.base import Host
from train_embedding.services.formats import SUFFIXES, called_anew
from train_embedding.services.sidecars.files import is_its_own, previews_of, shared_with_another, sidecars_of
from train_embedding.services.store.leftovers import sweep
from train_embedding.services.store.locks import TrainingLocks
from train_embedding.services.store.scan import files_named, link_problem
from train_embedding.services.store.transaction import Change, Journal
from train_embedding.services.store.trash import Trash

NEW_SUFFIX = ".pt"
OWN_FOLDER = "library"
"Beside the runs: the index, the journal of a change under way, locks. It may be deleted while nothing is changed."
_WITHOUT_ROOM = "Empty the trash, which needs no room, or use `train-embedding delete --permanently`."


@dataclass(frozen=True)
class Edit:
    """A file to write beside an embedding."""

    suffix: str
    "Of its name, after the embedding's name."
    content: bytes | Callable[[Path], bytes | None]
    "What it is to hold, or what makes that of what lies at its path now; None leaves that as it is."


class Shelf:
    """Files below the host's embeddings folder. Safe to call from any thread, and from several processes.

    used: gives the file that is in use of those that have a name. Every method raises StorageFailed where the disk refuses, and
    Conflict where another process does not finish its own change; then everything is as it was.
    """

    def __init__(self, host: Host, used: Callable[[str], Path]) -> None:
        self._host = host
        self._used = used
        self._lock = threading.RLock()
        self._swept = False

    @property
    def root(self) -> Path:
        return self._host.info().embeddings_folder

    @property
    def own_folder(self) -> Path:
        return self._host.info().runs_folder.parent / OWN_FOLDER

    @property
    def training_locks(self) -> TrainingLocks:
        """Which embeddings are being trained."""
        return TrainingLocks(self.own_folder / "held")

    @property
    def trash(self) -> Trash:
        """Beside the host's runs folder, so that it never lies where a host looks for embeddings."""
        return Trash(self._host.info().runs_folder.parent / "trash")

    def recover(self) -> None:
        """Ends a change that another process left behind when it was killed."""
        self._changes().recover()

    def files_named(self, name: str) -> list[Path]:
        """Every embedding file of that name, the one in use last. Raises InvalidName where a link leads outside."""
        paths = [path for path in files_named(self.root, name) if _has_name(path, name)]
        for path in paths:
            self._refuse_outside(path)
        if len(paths) > 1:
            used = self._used(name)
            paths.sort(key=lambda path: path == used)
        return paths

    def place(self, name: str, suffix: str, folder: str = "") -> Path:
        """Where a file of that name goes: to the one that has the name, or else into a folder below the embeddings folder.

        Raises InvalidName, and InvalidInput for a folder outside.
        """
        existing = self.files_named(name)
        return path_for(existing[-1].parent if existing else self._inside(self.root / folder), name, suffix)

    def put(
        self,
        name: str,
        content: Callable[[str], bytes],
        file: Path | None,
        overwrite: bool,
        beside: Callable[[Path], Sequence[tuple[Path, bytes]]] = lambda _target: (),
        stay: Callable[[], Collection[Path]] = tuple,
        *,
        by_run: bool = False,
    ) -> Path:
        """Writes the file of an embedding; whatever has the name already goes to the trash, and its sidecars stay.

        content: the bytes for a suffix. file: where; left out, the file in use under that name, or else a new `.pt`. beside: the
        sidecars to write with it, once its place is known; those that they take the place of go to the trash too, as does a
        picture that has the very name of the new file. stay: where several files have the name, tells which are left alone,
        unless the new file takes their place. by_run: whether the run that trains the embedding writes it; nobody else may
        meanwhile. Raises InvalidName, InvalidInput, Conflict without `overwrite` or while it is trained, and what `content`
        raises.
        """
        with self._turn() as changes:
            existing = self.files_named(name)
            if len(existing) > 1:
                left_alone = stay()
                existing = [path for path in existing if path not in left_alone]
            if existing and not overwrite:
                raise taken(name)
            for one in {name, *(path.stem for path in existing)} if not by_run else ():
                self.training_locks.check_free(one)
            target = self._target(name, file, existing)
            there = target.exists()
            others = [path for path in existing if path != target and not (there and path.samefile(target))]
            if there and not overwrite:
                raise Conflict(f'There is a file "{target.name}" already.', "Move it away, or allow it to be overwritten.")
            sidecars = beside(target)
            in_the_way = self._in_the_way(target, [path for path, _ in sidecars]) if overwrite else []
            unrelated = [target] if there and len(others) == len(existing) else []
            old = [path for path in dict.fromkeys([*in_the_way, *unrelated]) if path not in existing]
            targets = [path for path, _ in sidecars] + [target]
            change = Change(
                writes=(*sidecars, (target, content(target.suffix))),
                removes=(*others, *(path for path in old if path not in targets)),
                replaces=(*(path for path in old if path in targets and path != target), *([target] if there else [])),
            )
            changes.commit(self.trash.keeping(name, [*existing, *old], self.root) + change)
        return target

    def rewrite(self, file: Path, content: Callable[[str], bytes]) -> None:
        """Writes one file anew; the old one goes to the trash. Raises NotFound, Conflict while it is trained."""
        with self._turn() as changes:
            self._check_free_to_move(file)
            change = Change(writes=((file, content(file.suffix)),), replaces=(file,))
            changes.commit(self.trash.keeping(file.stem, [file], self.root) + change)

    def rename(self, file: Path, new_name: str, edits: Sequence[Edit] = ()) -> Path:
        """Renames an embedding and writes files beside it, in one change.

        A picture that carries its name gets the new one inside; the old picture goes to the trash. Raises InvalidName, NotFound,
        Conflict where the name is taken or the embedding is being trained, UnreadableFile, and what the edits raise.
        """
        target = path_for(file.parent, new_name, file.suffix)
        with self._turn() as changes:
            self._check_free_to_move(file)
            self._check_free_name(new_name, besides=file)
            written, old = self._edited(file, edits)
            shared = shared_with_another(file)
            copied = [path for path in sidecars_of(file) if shared and not is_its_own(path, file)]
            moved = [path for path in sidecars_of(file) if path not in copied]
            gone = [path for path in moved if path in written or path in old]
            pairs = {path: _renamed(path, file, new_name) for path in (*copied, *moved, *written)}
            same = [path for path in gone if _is_same_file(path, pairs[path])]
            change = Change(
                writes=tuple((pairs[path], data) for path, data in written.items()),
                copies=tuple((path, pairs[path]) for path in copied if path not in written and path not in old),
                moves=tuple((path, pairs[path]) for path in moved if path not in gone),
                removes=tuple(path for path in gone if path not in same),
                replaces=tuple(pairs[path] for path in same),
            )
            data = None if target.exists() else called_anew(file, new_name)
            kept = self.trash.keeping(file.stem, [*old, *([] if data is None else [file])], self.root)
            itself = Change(moves=((file, target),)) if data is None else Change(writes=((target, data),), removes=(file,))
            changes.commit(kept + change + itself)
        return target

    def copy(self, file: Path, new_name: str) -> Path:
        """Raises InvalidName, NotFound, Conflict where the name is taken, UnreadableFile."""
        target = path_for(file.parent, new_name, file.suffix)
        with self._turn() as changes:
            self._check_there(file)
            self._check_free_name(new_name)
            pairs = tuple((path, _renamed(path, file, new_name)) for path in sidecars_of(file))
            data = called_anew(file, new_name)
            itself = Change(copies=((file, target),)) if data is None else Change(writes=((target, data),))
            changes.commit(itself + Change(copies=pairs))
        return target

    def delete(self, file: Path, permanently: bool = False) -> None:
        """To the trash, unless `permanently`. Raises NotFound, Conflict where the embedding is being trained."""
        with self._turn() as changes:
            self._check_free_to_move(file)
            shared = shared_with_another(file)
            files = (file, *(path for path in sidecars_of(file) if is_its_own(path, file) or not shared))
            if permanently:
                changes.commit(Change(removes=files))
                return
            try:
                _move_or_copy(changes, lambda copying: self.trash.taking(file.stem, files, self.root, copying))
            except StorageFailed as error:
                if is_full(error):
                    raise StorageFailed(error.message, _WITHOUT_ROOM) from error
                raise

    def restore(self, trash_id: str) -> list[Path]:
        """Puts an item of the trash back to where it was. Raises NotFound, Conflict where something is there already."""
        with self._turn() as changes:
            item = self.trash.get(trash_id)
            for file in item.files:
                self._inside((self.root / file).parent)
            for file in item.embeddings:
                self._check_free_name(Path(file).stem)
            _move_or_copy(changes, lambda copying: self.trash.restoring(item, self.root, copying))
        return [self.root / file for file in item.embeddings]

    def edit(self, file: Path, edits: Sequence[Edit]) -> None:
        """Writes files beside an embedding in one change; previews that a new one is shown instead of go to the trash.

        Raises NotFound, and what the edits raise.
        """
        with self._turn() as changes:
            self._check_there(file)
            written, old = self._edited(file, edits)
            if not written:
                return
            change = Change(
                writes=tuple(written.items()),
                removes=tuple(path for path in old if path not in written),
                replaces=tuple(path for path in written if path.exists()),
            )
            changes.commit(self.trash.keeping(file.stem, old, self.root) + change)

    def _edited(self, file: Path, edits: Sequence[Edit]) -> tuple[dict[Path, bytes], list[Path]]:
        """The new contents of files beside an embedding, and the previews that they take the place of."""
        written: dict[Path, bytes] = {}
        for edit in edits:
            path = file.with_name(f"{file.stem}{edit.suffix}")
            self._refuse_outside(path)
            data = edit.content if isinstance(edit.content, bytes) else edit.content(path)
            if data is not None:
                written[path] = data
        if not previews_of(file.stem, [path.name for path in written]):
            return written, []
        shown = previews_of(file.stem, [path.name for path in sidecars_of(file)])
        return written, [file.with_name(name) for name in shown]

    @contextmanager
    def held(self, name: str) -> Generator[None, None, None]:
        """Until exit nobody but its run changes the file of that embedding. Raises Conflict where another run holds it."""
        with ExitStack() as stack:
            with self._turn():  # a change under way ends first, so that the run reads what is there afterwards
                stack.enter_context(self.training_locks.hold(name))
            yield

    @contextmanager
    def _turn(self) -> Generator[Journal, None, None]:
        changes = self._changes()
        with self._lock, changes.exclusive():
            if not self._swept:
                self._swept = True
                self._sweep()
            yield changes

    def _changes(self) -> Journal:
        return Journal(self.own_folder, (self.root, self.trash.folder, self.own_folder))

    def _sweep(self) -> None:
        """Once per process: an interrupted change is completed by now, and nobody else is at work."""
        sweep(self.root)
        sweep(self.own_folder)
        self.trash.sweep()

    def _target(self, name: str, file: Path | None, existing: Sequence[Path]) -> Path:
        """Where to write, spelled as lists spell it."""
        folder = self.root
        if file is None:
            used = existing[-1] if existing else None
            # A form that can only be read makes way for the usual one.
            if used is not None and any(used.suffix.lower() in suffixes for suffixes in SUFFIXES.values()):
                return used
            return path_for(folder if used is None else used.parent, name, NEW_SUFFIX)
        if file.stem != name:
            raise InvalidInput(f'An embedding named "{name}" cannot be saved as "{file.name}": its file\'s name calls it.')
        target = self._inside((file if file.is_relative_to(folder) else folder / file).parent) / file.name
        return target if target in existing else path_for(target.parent, name, file.suffix)

    def _in_the_way(self, file: Path, sidecars: Sequence[Path]) -> list[Path]:
        """What stands where new sidecars of a file go, and the pictures that a new picture is shown instead of."""
        for path in sidecars:
            self._refuse_outside(path)
        names = os.listdir(file.parent) if file.parent.is_dir() else []
        shown = previews_of(file.stem, names) if previews_of(file.stem, [path.name for path in sidecars]) else []
        there = [path for path in sidecars if path.name in names]
        return list(dict.fromkeys([*there, *(file.with_name(name) for name in shown)]))

    def _inside(self, folder: Path) -> Path:
        """A folder in the embeddings folder, links resolved, spelled as lists spell it. Raises InvalidInput for others."""
        root = self.root
        try:
            real = folder.resolve()
            with suppress(FileNotFoundError):
                folder.stat()  # refuses what no folder can be called
        except (OSError, ValueError, RuntimeError) as error:  # characters, length, links in a ring
            reason = getattr(error, "strerror", None) or error
            raise InvalidInput(f"This is no name of a folder: {str(folder)[:100]!r} ({reason}).") from error
        if not real.is_relative_to(root.resolve()):
            raise InvalidInput(f'"{folder}" lies outside the embeddings folder.')
        return root / real.relative_to(root.resolve())

    def _check_free_name(self, name: str, besides: Path | None = None) -> None:
        for path in self.files_named(name):
            # Where case makes no difference, a file may get its own name in another case.
            if besides is None or path.name == f"{name}{besides.suffix}" or not path.samefile(besides):
                raise taken(name)

    def _check_free_to_move(self, file: Path) -> None:
        self._check_there(file)
        self.training_locks.check_free(file.stem)

    def _check_there(self, file: Path) -> None:
        self._refuse_outside(file)
        if not file.is_file():
            raise NotFound(f'There is no embedding "{file}" any more.')

    def _refuse_outside(self, path: Path) -> None:
        problem = link_problem(path, self.root.resolve())
        if problem:
            raise InvalidName(problem, "Choose another name, or remove the link.")


def _move_or_copy(changes: Journal, change: Callable[[bool], Change]) -> None:
    """Carries out a change that moves files, or copies them where the trash is on another disk."""
    try:
        changes.commit(change(False))
    except StorageFailed as error:
        if not is_on_another_disk(error):
            raise
        changes.commit(change(True))


def taken(name: str) -> Conflict:
    return Conflict(f'There is an embedding "{name}" already.', "Choose another name, or allow it to be overwritten.")


def _has_name(path: Path, name: str) -> bool:
    if path.stem == name:
        return True
    # Where the file system does not tell cases or Unicode forms apart, writing "art.pt" would overwrite "Art.pt".
    other = path.with_name(f"{name}{path.suffix}")
    return folded(path.stem) == folded(name) and other.exists() and other.samefile(path)


def _renamed(sidecar: Path, file: Path, new_name: str) -> Path:
    return sidecar.with_name(f"{new_name}{sidecar.name[len(file.stem) :]}")


def _is_same_file(path: Path, other: Path) -> bool:
    """Whether two names are one file, as where case makes no difference."""
    return other.exists() and other.samefile(path)
