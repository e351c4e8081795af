"""The history of runs: what is on disk of each, notes of the user's, and the trash for deleted runs."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from train_embedding.embeddings.regular_files import read_regular_file
from train_embedding.embeddings.storage import (
    is_on_another_disk,
    remove_file,
    remove_tree,
    replace_file,
    storage_failed,
    temporary_key,
    write_atomically,
)
from train_embedding.engine.config.presets import preset_values
from train_embedding.engine.config.spec import OPTIONS, TrainingSpec
from train_embedding.errors import Conflict, InvalidInput, InvalidSpec, NotFound
from train_embedding.messages import msg
from train_embedding.services.run_records import STATE_FILE, RunState, load_state

NOTE_FILE = "note.txt"
"In a run's folder: what the user has written about it."
MAX_NOTE = 10_000
"Characters."
_ABOUT_WHAT = ("embedding", "dataset", "preset")
"Options that are not among the changed ones, because lists show them by themselves."

logger = logging.getLogger(__name__)

Stamp = tuple[int, int]
"Modification time in ns and size of a file."


@dataclass(frozen=True)
class RunEntry:
    """A run as the history shows it."""

    state: RunState
    note: str = ""
    "What the user has written about it."

    @property
    def changed(self) -> dict[str, Any]:
        """The options that differ from those of the run's preset, in the order in which they are declared."""
        return changed_options(self.state.spec)

    @property
    def samples(self) -> int:
        """Number of images that were trained on, each counted as often as it was used."""
        spec = self.state.spec
        return self.state.step * spec.batch_size * spec.gradient_accumulation_steps

    @property
    def started(self) -> datetime | None:
        """When the run was started; None if its folder was renamed."""
        with suppress(ValueError):
            return datetime.strptime(self.state.id[:15], "%Y%m%d-%H%M%S")
        return None

    @property
    def preview(self) -> Path | None:
        """The newest preview. It is in the run's folder, which may have been moved since."""
        previews = self.state.previews
        return self.state.folder / "previews" / previews[-1].name if previews else None

    def matches(self, words: Collection[str]) -> bool:
        """Whether each of the words, in small letters, occurs in what the run is about."""
        state = self.state
        facts = [state.id, state.embedding, state.spec.dataset, state.spec.preset, state.checkpoint, state.status, self.note]
        facts += [f"{name} {value}" for name, value in self.changed.items()]
        text = "\n".join(facts).casefold()
        return all(word in text for word in words)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, as the API answers them: those of the state, and the entry's own."""
        started, preview = self.started, self.preview
        own = {"note": self.note, "changed": self.changed, "samples": self.samples}
        files = {"started": started.isoformat() if started else None, "preview": str(preview) if preview else None}
        return {**self.state.to_json(), **own, **files}


def changed_options(spec: TrainingSpec) -> dict[str, Any]:
    """Return the options of a run that differ from those of its preset, in the order in which they are declared."""
    try:
        preset = preset_values(spec.preset)
    except InvalidSpec:  # a preset of another version
        preset = {}
    usual = {option.name: preset.get(option.name, option.default) for option in OPTIONS if option.name not in _ABOUT_WHAT}
    return {name: getattr(spec, name) for name, value in usual.items() if getattr(spec, name) != value}


class StoredRuns:
    """The runs in a folder. Each state.json is read once, and again only after it has changed. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[Path, tuple[Stamp, RunState | None]] = {}

    def read(self, runs_folder: Path, besides: Collection[str] = ()) -> list[RunState]:
        """Return the states of all runs but those with the ids in `besides`. Runs that cannot be read are logged and left out."""
        with self._lock:
            stamps = self.stamps(runs_folder)
            self._known = {folder: self._known.get(folder) or ((0, 0), None) for folder in stamps}
            for folder, stamp in stamps.items():
                if self._known[folder][0] != stamp and folder.name not in besides:
                    self._known[folder] = (stamp, _load(folder))
            return [state for folder, (_, state) in self._known.items() if state is not None and folder.name not in besides]

    def stamps(self, runs_folder: Path) -> dict[Path, Stamp]:
        """Return the stamp of each run's state.json, by folder."""
        found: dict[Path, Stamp] = {}
        try:
            folders = list(runs_folder.iterdir())
        except OSError:  # there is none yet
            return found
        for folder in folders:
            stamp = stamp_of(folder / STATE_FILE)
            if stamp != (0, 0):
                found[folder] = stamp
        return found


def read_note(folder: Path) -> str:
    """Return what the user has written about a run; empty if there is nothing that can be read."""
    try:
        data = read_regular_file(folder / NOTE_FILE, 4 * MAX_NOTE)
    except OSError:
        return ""
    return data.decode("utf-8", "replace")[:MAX_NOTE]


def write_note(folder: Path, note: str) -> None:
    """Write what the user says about a run; an empty note removes the file.

    Raises:
        InvalidInput: The note is too long.
        StorageFailed: The file cannot be written.
    """
    text = note.strip()
    if len(text) > MAX_NOTE:
        raise InvalidInput(
            msg("The note has {length} characters; at most {limit} are allowed.", length=len(text), limit=MAX_NOTE)
        )
    file = folder / NOTE_FILE
    if text:
        write_atomically(file, text.encode("utf-8", "replace"))
        return
    try:
        remove_file(file, missing_ok=True)
    except OSError as error:
        raise storage_failed(file, error, "deleted") from error


def move_to_trash(folder: Path, trash: Path) -> str:
    """Move the folder of a run to the trash of runs; return its id there.

    Raises:
        StorageFailed: A file cannot be moved.
    """
    target, number = trash / folder.name, 1
    while target.exists():
        number += 1
        target = trash / f"{folder.name}-{number}"
    _move(folder, target)
    return target.name


def restore_from_trash(trash_id: str, trash: Path, runs_folder: Path) -> Path:
    """Move a run back from the trash, and return its folder.

    Raises:
        NotFound: It is not in the trash.
        Conflict: There is a run with its id.
        StorageFailed: A file cannot be moved.
    """
    source = next((folder for folder in _folders(trash) if folder.name == trash_id), None)
    if source is None:
        raise NotFound(msg('There is no run "{run}" in the trash.', run=trash_id))
    target = runs_folder / source.name
    if target.exists():
        raise Conflict(msg('There is a run "{run}" already.', run=target.name))
    _move(source, target)
    return target


def trashed_runs(trash: Path) -> list[RunEntry]:
    """Return the runs in the trash, the newest first. Those that cannot be read are left out."""
    loaded = [(folder, _load(folder)) for folder in _folders(trash)]
    entries = [RunEntry(state, read_note(folder)) for folder, state in loaded if state is not None]
    return sorted(entries, key=lambda entry: entry.state.id, reverse=True)


def stamp_of(file: Path) -> Stamp:
    """Return the stamp of a file, (0, 0) if there is none."""
    try:
        status = file.stat()
    except OSError:
        return (0, 0)
    return (status.st_mtime_ns, status.st_size)


def _load(folder: Path) -> RunState | None:
    try:
        return load_state(folder)
    except (OSError, ValueError) as error:
        logger.warning("The run in %s is left out of the list: %s", folder, error)
        return None


def _folders(trash: Path) -> list[Path]:
    try:
        return [folder for folder in trash.iterdir() if folder.is_dir() and not folder.name.startswith(".")]
    except OSError:  # nothing was deleted yet
        return []


def _move(source: Path, target: Path) -> None:
    """Move a folder, to another disk too. The target appears when it is complete. Raises StorageFailed."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            replace_file(source, target)
        except OSError as error:
            if not is_on_another_disk(error):
                raise
            temporary = target.with_name(f".{temporary_key()}.tmp")
            shutil.copytree(source, temporary)
            replace_file(temporary, target)
            remove_tree(source)
    except OSError as error:
        raise storage_failed(source, error, "moved") from error
