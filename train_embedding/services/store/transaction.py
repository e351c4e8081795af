"""Changes of several files that are made completely or not at all, even if the process is killed or the power fails.

A change is made in three stages. First, all new data is written to temporary files next to their targets. Then the journal, a
file that lists every step, is marked as committed. After that, files are only renamed and removed. The next process that finds
the journal of a killed process either deletes its temporary files (not committed) or finishes its steps (committed).
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from train_embedding.embeddings.regular_files import read_regular_file
from train_embedding.embeddings.storage import (
    Operation,
    copy_flushed,
    flush_folder,
    is_full,
    is_on_another_disk,
    remove_file,
    remove_folder,
    replace_file,
    storage_failed,
    temporary_key,
    write_atomically,
    write_new,
)
from train_embedding.errors import Conflict, NameTaken, StorageFailed
from train_embedding.messages import msg
from train_embedding.services.store.locks import file_lock

JOURNAL, LOCK = "change.json", "change.lock"
DAMAGED = "change.damaged"
"The journal of an interrupted change that cannot be completed, and was set aside."
RESERVE, RESERVE_SIZE = "change.reserve", 64 * 2**10
"A file that is deleted when the disk is full, to make room for the journal of a change that moves or deletes files."
WAIT_SECONDS = 30.0
"Longest wait for the change of another process."
MAX_JOURNAL = 64 * 2**20
"Largest size in bytes; the journal of a change of 1,000 files takes 0.3 MB."

_BACKUP = ".old.tmp"
_LONGEST_SHOWN = 300
Stamp = tuple[int, int, int]
"Modification time in nanoseconds, size in bytes and inode of a file."

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Change:
    """A change of a set of files. Nothing is overwritten except `replaces`, which are targets of `writes`."""

    writes: tuple[tuple[Path, bytes], ...] = ()
    "Target and content."
    copies: tuple[tuple[Path, Path], ...] = ()
    "Source and target."
    moves: tuple[tuple[Path, Path], ...] = ()
    "Source and target, on the same disk. A target may be the source of an earlier move."
    removes: tuple[Path, ...] = ()
    "Files, and folders that are empty by then."
    replaces: tuple[Path, ...] = ()

    def __add__(self, other: Change) -> Change:
        return Change(
            self.writes + other.writes,
            self.copies + other.copies,
            self.moves + other.moves,
            self.removes + other.removes,
            self.replaces + other.replaces,
        )

    @property
    def paths(self) -> list[Path]:
        """Every path at which a file appears, changes or disappears."""
        pairs = (*self.copies, *self.moves)
        return [*(target for target, _ in self.writes), *(target for _, target in pairs), *self.left]

    @property
    def left(self) -> list[Path]:
        """The paths at which a file disappears."""
        return [*(source for source, _ in self.moves), *self.removes]


@dataclass(frozen=True)
class _Plan:
    """The steps of a change after its new data is in temporary files: renames and removals.

    Stamps identify the files, in case somebody replaces them before an interrupted change is finished.
    """

    staged: tuple[tuple[Path, Path, bool], ...]
    "Temporary file, target, and whether the target may be replaced. Replaceable targets are last."
    moves: tuple[tuple[Path, Path, Stamp], ...]
    removes: tuple[tuple[Path, Stamp], ...]

    @property
    def result(self) -> Path:
        """The file that the change is about, for messages."""
        targets = [target for _, target, _ in self.staged] + [target for _, target, _ in self.moves]
        return targets[-1] if targets else self.removes[0][0]

    def to_json(self) -> dict[str, Any]:
        return {
            "staged": [[_absolute(temporary), _absolute(target), replaces] for temporary, target, replaces in self.staged],
            "moves": [[_absolute(source), _absolute(target), stamp] for source, target, stamp in self.moves],
            "removes": [[_absolute(path), stamp] for path, stamp in self.removes],
        }

    @staticmethod
    def from_json(values: Any) -> _Plan:
        """Read what `to_json` returned. Raises ValueError, TypeError, KeyError for anything else."""
        return _Plan(
            tuple((Path(temporary), Path(target), bool(replaces)) for temporary, target, replaces in values["staged"]),
            tuple((Path(source), Path(target), _stamp_from(stamp)) for source, target, stamp in values["moves"]),
            tuple((Path(path), _stamp_from(stamp)) for path, stamp in values["removes"]),
        )


class Journal:
    """Makes changes, one at a time among all processes that share `folder`.

    Args:
        folder: The folder of the journal and its lock.
        within: The folders in which files may change. A data folder may come from anywhere, so a journal with paths outside these
            folders is set aside.
    """

    def __init__(self, folder: Path, within: Sequence[Path]) -> None:
        self._within = within
        self._journal = folder / JOURNAL
        self._lock = folder / LOCK
        self._reserve = folder / RESERVE

    @contextmanager
    def exclusive(self) -> Generator[None, None, None]:
        """Keep all other processes from changing files until exit, and first finish the change of a killed process.

        Raises:
            Conflict: Another process did not finish its change in time.
            StorageFailed: The lock or the journal cannot be used.
        """
        try:
            with file_lock(self._lock, WAIT_SECONDS):
                self._remove_unfinished()
                self._finish_interrupted()
                self._make_reserve()
                yield
        except TimeoutError as error:
            raise Conflict(
                msg("Another program is changing the embeddings folder."), msg("Wait until it is done, then try again.")
            ) from error

    def recover(self) -> None:
        """Finish the change of a killed process, if there is one and no other process is making a change."""
        if not self._journal.exists():
            return
        try:
            with file_lock(self._lock):
                self._finish_interrupted()
        except TimeoutError:
            logger.debug("A change is in progress.")
        except StorageFailed as error:
            logger.warning("An interrupted change is left as it is: %s", error)

    def commit(self, change: Change) -> None:
        """Make a change, inside `exclusive`.

        A change that only moves and removes files needs almost no space, and can be made on a full disk.

        Raises:
            Conflict: A target exists already; nothing has changed.
            StorageFailed: Files cannot be written; nothing has changed.
        """
        try:
            self._commit(change)
        except StorageFailed as error:
            if not is_full(error) or change.writes or change.copies or not self._give_up_reserve():
                raise
            self._commit(change)

    def commit_move(self, plan: Callable[[bool], Change]) -> Change:
        """Make a change that moves files, or copies them if they go to another disk; return it. Raises the errors of `commit`.

        Args:
            plan: Returns the change; its argument is whether files are copied and removed instead of moved.
        """
        change = plan(False)
        try:
            self.commit(change)
        except StorageFailed as error:
            if not is_on_another_disk(error):
                raise
            change = plan(True)
            self.commit(change)
        return change

    def _commit(self, change: Change) -> None:
        _check_targets(change)
        if len(change.writes) == 1 and not (change.copies or change.moves or change.removes):
            write_atomically(*change.writes[0])
            return
        plan = _plan_of(change)
        made: list[Path] = []
        try:
            if plan.staged:
                self._record(plan, committed=False)
            _stage(change, plan, made)
            self._record(plan, committed=True)
        except StorageFailed as error:
            self._roll_back(plan, made)
            if plan.staged or plan.moves or not is_full(error) or self._reserve.exists():
                raise
            logger.warning("Files are deleted without a journal, because the disk is full.")
        except BaseException:
            self._roll_back(plan, made)
            raise
        # On any error other than StorageFailed the journal stays, and the next `exclusive` finishes the change.
        try:
            _perform(plan, made)
        except StorageFailed:
            self._remove_journal()
            raise
        except OSError as error:
            raise storage_failed(plan.result, error) from error
        self._remove_journal()

    def _roll_back(self, plan: _Plan, made: Iterable[Path]) -> None:
        _discard(plan, made)
        self._remove_journal()

    def _remove_unfinished(self) -> None:
        """Remove journals that a killed process had not written completely."""
        try:
            for unfinished in self._journal.parent.glob(f".{self._journal.stem}.*.tmp"):
                remove_file(unfinished, missing_ok=True)
        except OSError as error:
            logger.warning("An unfinished journal cannot be removed: %s", error)

    def _make_reserve(self) -> None:
        """Write the reserve if there is space. Its bytes are random, so that file systems with compression cannot shrink it."""
        if self._reserve.exists():
            return
        try:
            write_atomically(self._reserve, os.urandom(RESERVE_SIZE))
        except StorageFailed as error:
            logger.info("There is no reserve for deleting files on a full disk: %s", error)

    def _give_up_reserve(self) -> bool:
        try:
            remove_file(self._reserve)
        except OSError:  # it was deleted before, or could not be written
            return False
        return True

    def _remove_journal(self) -> None:
        """Remove the journal. If that fails, the next `exclusive` finds nothing left to do."""
        try:
            remove_file(self._journal, missing_ok=True)
        except OSError as error:
            logger.warning("The journal of a completed change cannot be removed: %s", error)

    def _record(self, plan: _Plan, *, committed: bool) -> None:
        try:
            write_atomically(self._journal, json.dumps({"committed": committed, **plan.to_json()}, indent=1).encode())
        except StorageFailed as error:
            if isinstance(error.__cause__, OSError):  # users know the file of the embedding, not the journal
                raise storage_failed(plan.result, error.__cause__) from error
            raise

    def _finish_interrupted(self) -> None:
        try:
            values = json.loads(read_regular_file(self._journal, MAX_JOURNAL))
            plan, committed = _Plan.from_json(values), bool(values["committed"])
            _check_within(plan, self._within)
        except FileNotFoundError:
            return
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            aside = self._journal.with_name(DAMAGED)
            logger.warning("An interrupted change is not completed: %s Its journal was set aside as %s.", error, aside)
            replace_file(self._journal, aside)
            return
        except OSError as error:
            raise storage_failed(self._journal, error) from error
        logger.info("A change was interrupted; it is %s.", "completed" if committed else "rolled back")
        try:
            if committed:
                _complete(plan)
            else:
                _discard(plan, [])
            remove_file(self._journal, missing_ok=True)
        except OSError as error:
            raise storage_failed(self._journal, error) from error


def already_exists(path: Path) -> NameTaken:
    """Return the error for a file that would be overwritten."""
    return NameTaken(
        msg('"{name}" already exists.', name=path.name),
        msg('Move it out of "{folder}", or choose another name.', folder=path.parent),
    )


def _check_targets(change: Change) -> None:
    """Raise Conflict if something exists that would be overwritten."""
    targets = [target for target, _ in change.writes] + [target for _, target in change.copies]
    existing = [target for target in targets if target not in change.replaces and os.path.lexists(target)]
    left: list[Path] = []
    for source, target in change.moves:
        # On file systems that ignore case, the new name of a file may be the file itself.
        if os.path.lexists(target) and not any(path == target or _is_same_file(path, target) for path in (source, *left)):
            existing.append(target)
        left.append(source)
    if existing:
        raise already_exists(existing[0])


def _plan_of(change: Change) -> _Plan:
    """Plan the steps of a change. Raises StorageFailed if a file to move or remove does not exist."""
    key = f".{temporary_key()}"
    targets = [target for target, _ in change.writes] + [target for _, target in change.copies]
    staged = [
        (target.with_name(f"{key}-{number}.tmp"), target, target in change.replaces) for number, target in enumerate(targets)
    ]
    try:
        return _Plan(
            tuple(sorted(staged, key=lambda step: step[2])),
            tuple((source, target, _stamp(source)) for source, target in change.moves),
            tuple((path, _stamp(path)) for path in change.removes),
        )
    except OSError as error:
        raise storage_failed(Path(str(error.filename)), error) from error


def _check_within(plan: _Plan, folders: Iterable[Path]) -> None:
    """Raise ValueError if a plan names a path outside these folders, also by way of links."""
    roots = [folder.resolve() for folder in folders]
    paths = [path for temporary, target, _ in plan.staged for path in (temporary, target)]
    paths += [path for source, target, _ in plan.moves for path in (source, target)]
    for path in (*paths, *(path for path, _ in plan.removes)):
        # The last part is not resolved: if it is a link, the link itself is renamed or removed.
        inside = path.is_absolute() and any(path.parent.resolve().is_relative_to(root) for root in roots)
        if not inside or path.name in ("", ".", ".."):
            raise ValueError(f"{str(path)[:_LONGEST_SHOWN]!r} is outside the folders of this library.")


def _stage(change: Change, plan: _Plan, made: list[Path]) -> None:
    """Write the temporary files; `made` collects the folders that are created. Raises StorageFailed."""
    temporary_of = {target: temporary for temporary, target, _ in plan.staged}
    for target, data in change.writes:
        _make_folder(target.parent, made)
        write_new(temporary_of[target], data, target)
    for source, target in change.copies:
        _make_folder(target.parent, made)
        copy_flushed(source, temporary_of[target], target)
    for _, target in change.moves:
        _make_folder(target.parent, made)


def _perform(plan: _Plan, made: Iterable[Path]) -> None:
    """Rename and remove files. Raises StorageFailed after rolling back, unless a file has been removed by then."""
    replacing = [(temporary, target) for temporary, target, replaces in plan.staged if replaces]
    steps = [(temporary, target) for temporary, target, replaces in plan.staged if not replaces]
    steps += [(source, target) for source, target, _ in plan.moves]
    # All replaced files except the last are renamed first, so that they can be restored.
    steps += [step for temporary, target in replacing[:-1] for step in ((target, _backup(temporary)), (temporary, target))]
    last = replacing[-1:]
    done: list[tuple[Path, Path]] = []
    at, verb = plan.result, "written"
    try:
        for source, target in (*steps, *last):
            at, verb = _describe(source, target)
            replace_file(source, target)
            done.append((source, target))
        for at in {path.parent for step in done for path in step}:
            flush_folder(at)
        verb = "deleted"
        for at in (*(_backup(temporary) for temporary, _ in replacing), *(path for path, _ in plan.removes)):
            _remove(at)
    except OSError as error:
        gone = any(step in done for step in last) or any(not os.path.lexists(path) for path, _ in plan.removes)
        if gone and _try_to_complete(plan):
            logger.warning("A change was completed after an error: %s", error)
            return
        if not gone:
            for source, target in reversed(done):
                replace_file(target, source)
        _discard(plan, made)
        raise storage_failed(at, error, verb) from error


def _complete(plan: _Plan) -> None:
    """Finish the steps of a killed process. If another file is in the way meanwhile, nothing is removed."""
    clear = True
    for temporary, target, replaces in plan.staged:
        if not temporary.exists():
            _remove(_backup(temporary))
            continue
        if replaces or not os.path.lexists(target):
            replace_file(temporary, target)
        else:
            clear = False
            logger.warning("%s is in the way of a change that was interrupted.", target)
            remove_file(temporary)
        _remove(_backup(temporary))
    for source, target, stamp in plan.moves:
        if _has_stamp(source, stamp) and not os.path.lexists(target):
            replace_file(source, target)
    for path, stamp in plan.removes if clear else ():
        if path.is_dir() or _has_stamp(path, stamp):
            _remove(path)


def _try_to_complete(plan: _Plan) -> bool:
    """Complete a change that can no longer be rolled back, and return whether that succeeded."""
    try:
        _complete(plan)
    except OSError as error:
        logger.warning("A change could not be completed: %s", error)
        return False
    return True


def _discard(plan: _Plan, made: Iterable[Path]) -> None:
    """Remove the temporary files, and the folders that were made for them and are empty."""
    for temporary, _, _ in plan.staged:
        for path in (temporary, _backup(temporary)):
            if os.path.lexists(path):
                remove_file(path)
    for folder in made:  # the deepest first
        if folder.is_dir() and not any(folder.iterdir()):
            remove_folder(folder)


def _describe(source: Path, target: Path) -> tuple[Path, Operation]:
    """Return the file of a step that users know, and what could not be done to it."""
    if target.name.endswith(_BACKUP):
        return source, "replaced"
    return (target, "written") if source.name.endswith(".tmp") else (source, "moved")


def _backup(temporary: Path) -> Path:
    """Return where the old file is kept while it is being replaced."""
    return temporary.with_suffix(_BACKUP)


def _make_folder(folder: Path, made: list[Path]) -> None:
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_failed(folder, error) from error
    made.extend(missing)


def _remove(path: Path) -> None:
    if not path.is_dir() or path.is_symlink():
        remove_file(path, missing_ok=True)
    elif not any(path.iterdir()):
        remove_folder(path)


def _is_same_file(source: Path, target: Path) -> bool:
    return target.exists() and source.exists() and source.samefile(target)


def _absolute(path: Path) -> str:
    return str(path.absolute())


def _stamp(path: Path) -> Stamp:
    status = path.lstat()
    return status.st_mtime_ns, status.st_size, status.st_ino


def _stamp_from(values: Any) -> Stamp:
    modified, size, inode = values
    return int(modified), int(size), int(inode)


def _has_stamp(path: Path, stamp: Stamp) -> bool:
    return os.path.lexists(path) and _stamp(path) == stamp
