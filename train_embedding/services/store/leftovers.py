"""Removal of what killed processes left behind: temporary files and empty folders."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

from train_embedding.embeddings.storage import machine, remove_file, remove_folder
from train_embedding.services.run_records import STATE_FILE

SAFE_SECONDS = 3600.0
"Temporary files exist for seconds. Older ones are left behind, even if their process seems to be running."
_TEMPORARY = re.compile(r"\.(?:.*\.)?(?P<process>\d+)-[0-9a-f]{8}(?:-(?P<machine>[0-9a-f]{6}))?(?:-\d+)?\.tmp", re.DOTALL)
"Names by `embeddings.storage.temporary_key`. Files that a change has moved aside (`.old.tmp`) belong to its journal."
_RUN = re.compile(r"\d{8}-\d{6}-\d{3}(-\d+)?")

logger = logging.getLogger(__name__)


def sweep(folder: Path, below: bool = True) -> None:
    """Remove the temporary files of ended processes from a folder and, with `below`, its subfolders. Never fails."""
    for path in find_leftovers(folder, below):
        _remove(path)


def find_leftovers(folder: Path, below: bool = True) -> list[Path]:
    """Return the temporary files of ended processes in a folder and, with `below`, its subfolders."""
    return [path for path in _temporaries(folder, below) if is_left_behind(path)]


def sweep_empty(folder: Path) -> None:
    """Remove a folder that holds only empty folders. Call this while no process writes to it. Never fails."""
    for parent, _folders, _files in os.walk(folder, topdown=False):
        if not os.listdir(parent):
            _remove(Path(parent))


def sweep_runs(runs_folder: Path) -> None:
    """Remove temporary files of runs, and the folders of runs that were killed before their first state was written.

    Never fails.
    """
    for folder in _subfolders(runs_folder):
        if not _RUN.fullmatch(folder.name) or (folder / STATE_FILE).exists():
            continue
        inside = list(folder.iterdir())
        all_left_behind = bool(inside) and all(is_left_behind(path) for path in inside)
        if all_left_behind or (not inside and _age(folder) > SAFE_SECONDS):
            for path in (*inside, folder):
                _remove(path)
    sweep(runs_folder)


def is_left_behind(path: Path) -> bool:
    """Whether a path is a temporary file of ours whose process has ended."""
    match = _TEMPORARY.fullmatch(path.name)
    if match is None:
        return False
    if match["machine"] == machine() and not _runs(int(match["process"])):
        return True
    return _age(path) > SAFE_SECONDS


def _temporaries(folder: Path, below: bool) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        yield from (Path(parent, name) for name in files if name.endswith(".tmp") and _TEMPORARY.fullmatch(name))
        if not below:
            folders.clear()


def _subfolders(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.is_dir() and not path.is_symlink()]
    except OSError:  # it does not exist or cannot be read; then nothing can be removed there
        return []


def _runs(process: int) -> bool:
    """Whether a process of this machine still runs. On Windows, where checking could end it, every process counts as running."""
    if os.name == "nt":
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _age(path: Path) -> float:
    try:
        return time.time() - path.lstat().st_mtime
    except OSError:  # another process has removed it
        return 0.0


def _remove(path: Path) -> None:
    try:
        if path.is_dir() and not path.is_symlink():
            remove_folder(path)
        else:
            remove_file(path, missing_ok=True)
    except OSError as error:
        logger.info("%s, which an ended process left behind, cannot be removed now: %s", path, error)
    else:
        logger.info("Removed %s, which an ended process had left behind.", path)
