"""Checks of the folders: whether they exist and can be used, their free space, and what interrupted programs left in them."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from train_embedding.embeddings.storage import is_full, is_refused, remove_file, temporary_key, write_new
from train_embedding.errors import StorageFailed
from train_embedding.services.diagnosis.report import Check, shown_path, shown_size
from train_embedding.services.run_records import STATE_FILE, load_state
from train_embedding.services.store.leftovers import find_leftovers
from train_embedding.services.store.locks import TrainingLocks
from train_embedding.services.store.store import OWN_FOLDER, TRAINING_LOCKS
from train_embedding.services.store.transaction import DAMAGED, JOURNAL

LITTLE_SPACE = 500 * 2**20
"Bytes. A run of 1,000 steps with previews takes some ten megabytes, cached latents of 1,000 images a hundred."


def folder_check(name: str, folder: Path, other: str) -> Check:
    """Check that a folder exists and can be read and written, by writing a small file into it for a moment.

    Args:
        name: Of the folder.
        folder: The folder.
        other: How to choose another one, a sentence.
    """
    shown = shown_path(folder)
    try:
        if not folder.is_dir():
            return _not_there(name, folder, other)
        with os.scandir(folder) as entries:
            next(entries, None)
    except OSError as error:
        return Check(name, shown, "error", f"It cannot be read: {error.strerror or error}.", _permissions(other))
    trial = folder / f".doctor.{temporary_key()}.tmp"
    try:
        write_new(trial, b"\0" * 1024, folder)
        ignores_case = trial.with_name(trial.name.swapcase()).exists()
        remove_file(trial)
    except (StorageFailed, OSError) as error:
        return _not_writable(name, shown, error, other)
    free = shutil.disk_usage(folder).free
    value = f"{shown}, {shown_size(free)} free{', ignores upper and lower case' if ignores_case else ''}"
    if free < LITTLE_SPACE:
        return Check(name, value, "warning", "There is little free space; training may run out of it.", "Free some space.")
    return Check(name, value)


def leftover_checks(embeddings: Path, runs: Path) -> Iterator[Check]:
    """Look for changes and runs that were interrupted, and for temporary files of killed programs."""
    own = runs.parent / OWN_FOLDER
    if (own / JOURNAL).exists():
        problem = "A change of the embeddings folder was interrupted, or is being made."
        yield Check("change", shown_path(own / JOURNAL), "note", problem, "The next change completes it or takes it back.")
    if (damaged := own / DAMAGED).exists():
        problem = "An interrupted change could not be completed, and was set aside."
        advice = "Check that the embeddings you changed last are as they should be, then delete this file."
        yield Check("change", shown_path(damaged), "warning", problem, advice)
    temporary = [path for folder in (embeddings, own) for path in find_leftovers(folder)]
    if temporary:
        value, problem = f"{len(temporary)} in {shown_path(embeddings)}", "Programs that were killed left temporary files."
        yield Check("leftovers", value, "note", problem, "The next change removes them.")
    interrupted = _interrupted_runs(runs, TrainingLocks(own / TRAINING_LOCKS))
    if interrupted:
        problem = "The program ended before the run did."
        advice = "Press Resume in the tab, or run: train-embedding resume"
        yield Check("runs", f"{len(interrupted)} interrupted, the last one {max(interrupted)}", "note", problem, advice)


def _interrupted_runs(runs: Path, locks: TrainingLocks) -> list[str]:
    """The ids of runs that did not end and are not under way."""
    found: list[str] = []
    for file in runs.glob(f"*/{STATE_FILE}"):
        try:
            state = load_state(file.parent)
        except (OSError, ValueError):
            continue
        if state.status == "interrupted" and not locks.is_locked(state.embedding):
            found.append(state.id)
    return found


def _not_there(name: str, folder: Path, other: str) -> Check:
    shown = shown_path(folder)
    if os.path.lexists(folder):
        what = "It is a link that leads nowhere." if folder.is_symlink() else "It is not a folder."
        return Check(name, shown, "error", what, f"Move it away. {other}")
    above = next((path for path in folder.parents if os.path.lexists(path)), folder)
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        problem = f'It does not exist, and cannot be created in "{shown_path(above)}".'
        return Check(name, shown, "error", problem, _permissions(other))
    return Check(name, f"{shown}, does not exist yet")


def _not_writable(name: str, shown: str, error: StorageFailed | OSError, other: str) -> Check:
    if is_full(error):
        return Check(name, shown, "error", "The disk is full.", "Free some space.")
    if _is_read_only(error):
        return Check(name, shown, "error", "It is on a read-only file system.", other)
    if is_refused(error):
        return Check(name, shown, "error", "Train Embedding has no permission to write to it.", _permissions(other))
    return Check(name, shown, "error", f"Files cannot be written to it: {error.__cause__ or error}", other)


def _is_read_only(error: BaseException) -> bool:
    cause = error.__cause__ or error
    return isinstance(cause, OSError) and cause.errno == errno.EROFS


def _permissions(other: str) -> str:
    return f"Change its permissions. {other}".strip()
