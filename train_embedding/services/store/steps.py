"""The steps of a change of several files: data beside its place first, then names, and how to go on or back from anywhere."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from train_embedding.embeddings.storage import (
    copy_flushed,
    flush_folder,
    remove_file,
    remove_folder,
    replace_file,
    storage_failed,
    temporary_key,
    write_new,
)
from train_embedding.errors import Conflict

logger = logging.getLogger(__name__)

_ASIDE = ".old.tmp"
_LONGEST_SHOWN = 300
Stamp = tuple[int, int, int]


@dataclass(frozen=True)
class Change:
    """What shall be done to files. Nothing is overwritten but `replaces`, some of the targets of `writes`."""

    writes: tuple[tuple[Path, bytes], ...] = ()
    "Target and content."
    copies: tuple[tuple[Path, Path], ...] = ()
    "Source and target."
    moves: tuple[tuple[Path, Path], ...] = ()
    "Source and target, on one disk."
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


@dataclass(frozen=True)
class Plan:
    """A change whose data gets temporary files beside its targets; what is left then is renaming and removing.

    The stamps say which files are meant, should a person put others there before an interrupted change goes on.
    """

    staged: tuple[tuple[Path, Path, bool], ...]
    "Temporary file, target, and whether the target may be replaced; those that may come last."
    moves: tuple[tuple[Path, Path, Stamp], ...]
    removes: tuple[tuple[Path, Stamp], ...]

    @property
    def result(self) -> Path:
        """The file that the change is about, for messages."""
        targets = [target for _, target, _ in self.staged] + [target for _, target, _ in self.moves]
        return targets[-1] if targets else self.removes[0][0]

    def to_json(self) -> dict[str, Any]:
        return {
            "staged": [[_text(temporary), _text(target), replaces] for temporary, target, replaces in self.staged],
            "moves": [[_text(source), _text(target), stamp] for source, target, stamp in self.moves],
            "removes": [[_text(path), stamp] for path, stamp in self.removes],
        }


def check_free(change: Change) -> None:
    """Raises Conflict where something is there already that would be overwritten."""
    targets = [target for target, _ in change.writes] + [target for _, target in change.copies]
    taken = [target for target in targets if target not in change.replaces and os.path.lexists(target)]
    # Where case makes no difference, the new name of a file may be itself.
    taken += [target for source, target in change.moves if os.path.lexists(target) and not _same_file(source, target)]
    if taken:
        raise Conflict(f'"{taken[0].name}" is there already.', f'Move it out of "{taken[0].parent}", or choose another name.')


def plan_of(change: Change) -> Plan:
    """Raises StorageFailed where a file is not there that is to be moved or removed."""
    key = f".{temporary_key()}"
    targets = [target for target, _ in change.writes] + [target for _, target in change.copies]
    staged = [
        (target.with_name(f"{key}-{number}.tmp"), target, target in change.replaces) for number, target in enumerate(targets)
    ]
    try:
        return Plan(
            tuple(sorted(staged, key=lambda one: one[2])),
            tuple((source, target, _stamp(source)) for source, target in change.moves),
            tuple((path, _stamp(path)) for path in change.removes),
        )
    except OSError as error:
        raise storage_failed(Path(str(error.filename)), error) from error


def plan_from(values: Any) -> Plan:
    """Reads what `Plan.to_json` gave. Raises ValueError, TypeError, KeyError."""
    return Plan(
        tuple((Path(temporary), Path(target), bool(replaces)) for temporary, target, replaces in values["staged"]),
        tuple((Path(source), Path(target), _stamp_from(stamp)) for source, target, stamp in values["moves"]),
        tuple((Path(path), _stamp_from(stamp)) for path, stamp in values["removes"]),
    )


def check_within(plan: Plan, folders: Iterable[Path]) -> None:
    """Raise ValueError where a plan names a path outside these folders, whatever links lead there."""
    roots = [folder.resolve() for folder in folders]
    paths = [path for temporary, target, _ in plan.staged for path in (temporary, target)]
    paths += [path for source, target, _ in plan.moves for path in (source, target)]
    for path in (*paths, *(path for path, _ in plan.removes)):
        # The last part stays as it is: of a link, it is the link itself that is renamed or removed.
        inside = path.is_absolute() and any(path.parent.resolve().is_relative_to(root) for root in roots)
        if not inside or path.name in ("", ".", ".."):
            raise ValueError(f"{str(path)[:_LONGEST_SHOWN]!r} lies outside the folders of this library.")


def stage(change: Change, plan: Plan, made: list[Path]) -> None:
    """Writes the temporary files. made: gets the folders that had to be made. Raises StorageFailed."""
    temporary_of = {target: temporary for temporary, target, _ in plan.staged}
    for target, data in change.writes:
        _make_folder(target.parent, made)
        write_new(temporary_of[target], data, target)
    for source, target in change.copies:
        _make_folder(target.parent, made)
        copy_flushed(source, temporary_of[target], target)
    for _, target in change.moves:
        _make_folder(target.parent, made)


def perform(plan: Plan, made: Iterable[Path]) -> None:
    """Renames and removes. Raises StorageFailed, with everything taken back unless something is gone for good by then."""
    replacing = [(temporary, target) for temporary, target, replaces in plan.staged if replaces]
    steps = [(temporary, target) for temporary, target, replaces in plan.staged if not replaces]
    steps += [(source, target) for source, target, _ in plan.moves]
    # All but the last one are moved aside, from where they can come back.
    steps += [step for temporary, target in replacing[:-1] for step in ((target, _aside(temporary)), (temporary, target))]
    last = replacing[-1:]
    done: list[tuple[Path, Path]] = []
    at, verb = plan.result, "written"
    try:
        for source, target in (*steps, *last):
            at, verb = _named_in_messages(source, target)
            replace_file(source, target)
            done.append((source, target))
        for at in {path.parent for step in done for path in step}:
            flush_folder(at)
        verb = "deleted"
        for at in (*(_aside(temporary) for temporary, _ in replacing), *(path for path, _ in plan.removes)):
            _remove(at)
    except OSError as error:
        gone = any(step in done for step in last) or any(not os.path.lexists(path) for path, _ in plan.removes)
        if gone and _completed(plan):
            logger.warning("A change went on after an error: %s", error)
            return
        if not gone:
            for source, target in reversed(done):
                replace_file(target, source)
        discard(plan, made)
        raise storage_failed(at, error, verb) from error


def complete(plan: Plan) -> None:
    """Does what an ended process had left to do. Where a person has put something in the way meanwhile, nothing is removed."""
    clear = True
    for temporary, target, replaces in plan.staged:
        if not temporary.exists():
            _remove(_aside(temporary))
            continue
        if replaces or not os.path.lexists(target):
            replace_file(temporary, target)
        else:
            clear = False
            logger.warning("%s is in the way of a change that was interrupted.", target)
            remove_file(temporary)
        _remove(_aside(temporary))
    for source, target, stamp in plan.moves:
        if _is(source, stamp) and not os.path.lexists(target):
            replace_file(source, target)
    for path, stamp in plan.removes if clear else ():
        if path.is_dir() or _is(path, stamp):
            _remove(path)


def _completed(plan: Plan) -> bool:
    """Whether what was left of a change that cannot go back could be done."""
    try:
        complete(plan)
    except OSError as error:
        logger.warning("A change could not be completed: %s", error)
        return False
    return True


def discard(plan: Plan, made: Iterable[Path]) -> None:
    """Takes the temporary files away, and those folders that were made for them and are empty."""
    for temporary, _, _ in plan.staged:
        for path in (temporary, _aside(temporary)):
            if os.path.lexists(path):
                remove_file(path)
    for folder in made:  # the deepest first
        if folder.is_dir() and not any(folder.iterdir()):
            remove_folder(folder)


def _named_in_messages(source: Path, target: Path) -> tuple[Path, str]:
    """Of the two names of a move, the one that people know, and what could not be done to that file."""
    if target.name.endswith(_ASIDE):
        return source, "replaced"
    return (target, "written") if source.name.endswith(".tmp") else (source, "moved")


def _aside(temporary: Path) -> Path:
    """Where the old file waits while the temporary one takes its place."""
    return temporary.with_suffix(_ASIDE)


def _make_folder(folder: Path, made: list[Path]) -> None:
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
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


def _same_file(source: Path, target: Path) -> bool:
    return target.exists() and source.exists() and source.samefile(target)


def _stamp(path: Path) -> Stamp:
    status = path.lstat()
    return status.st_mtime_ns, status.st_size, status.st_ino


def _text(path: Path) -> str:
    return str(path.absolute())


def _stamp_from(values: Any) -> Stamp:
    modified, size, inode = values
    return int(modified), int(size), int(inode)


def _is(path: Path, stamp: Stamp) -> bool:
    return os.path.lexists(path) and _stamp(path) == stamp
