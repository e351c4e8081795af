"""What the training queue keeps in its file: the trainings in their order, and whether the queue is paused."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast, get_args

from train_embedding.embeddings.regular_files import read_regular_file
from train_embedding.engine.config.spec import TrainingSpec
from train_embedding.messages import NOTHING, Message, decode, encode
from train_embedding.services.run_records import parse_spec
from train_embedding.services.training.history import changed_options

EntryStatus = Literal["waiting", "running", "interrupted", "finished", "stopped", "failed"]
"""What a training of the queue is doing. It is "interrupted" when the program ended before it did; the queue resumes it."""
STATUSES: tuple[EntryStatus, ...] = get_args(EntryStatus)
TO_BEGIN: tuple[EntryStatus, ...] = ("waiting", "interrupted")
UNFINISHED: tuple[EntryStatus, ...] = (*TO_BEGIN, "running")
MAX_UNFINISHED = 500
"Trainings that may wait."
MAX_KEPT = 200
"Trainings that have ended, and as many that were removed, that are kept."
MAX_FILE = 32 * 2**20
"Largest size of the file in bytes; a training takes 3 KB."
_VERSION = 1


@dataclass(frozen=True)
class QueueEntry:
    """A training of the queue."""

    id: str
    "A number that is never used again."
    spec: TrainingSpec
    status: EntryStatus = "waiting"
    checkpoint: str = ""
    "Name of the checkpoint that was loaded when the training was added; it waits until that is loaded again."
    checkpoint_hash: str = ""
    added: str = ""
    "When it was added, local time in ISO format."
    run: str = ""
    "The id of its run, once it has begun."
    notes: tuple[Message, ...] = ()
    "Sentences from the checks, then from the run."
    error: Message = NOTHING
    "Why it has failed, or why it still waits although it is its turn."
    hint: Message = NOTHING

    @property
    def unfinished(self) -> bool:
        """Whether it is in training or will be."""
        return self.status in UNFINISHED

    @property
    def to_begin(self) -> bool:
        """Whether it waits for its turn."""
        return self.status in TO_BEGIN

    @property
    def changed(self) -> dict[str, Any]:
        """The options that differ from those of the preset."""
        return changed_options(self.spec)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, as the API answers them."""
        facts: dict[str, Any] = {"id": self.id, "embedding": self.spec.embedding, "status": self.status}
        facts |= {"checkpoint": self.checkpoint, "added": self.added, "run": self.run or None, "notes": list(self.notes)}
        return {**facts, "error": self.error, "hint": self.hint, "changed": self.changed, "spec": self.spec.to_json()}

    def to_record(self) -> dict[str, Any]:
        """Return JSON values, as the file holds them."""
        kept = {name: getattr(self, name) for name in ("id", "status", "checkpoint", "checkpoint_hash", "added", "run")}
        sentences = {"notes": [encode(note) for note in self.notes], "error": encode(self.error), "hint": encode(self.hint)}
        return {**kept, **sentences, "spec": self.spec.to_json()}


@dataclass(frozen=True)
class QueueContents:
    """The queue at one moment."""

    entries: tuple[QueueEntry, ...] = ()
    "In the order in which they are trained; those that have ended keep their place."
    removed: tuple[QueueEntry, ...] = ()
    "What was removed, the oldest first; it can be restored."
    paused: bool = False
    "Whether no further training begins."
    why_paused: Message = NOTHING
    "Why the queue was paused, if no user did it."
    next_number: int = 1
    unreadable: tuple[Any, ...] = ()
    "Entries of another version, which are kept as they are."

    @property
    def to_begin(self) -> list[QueueEntry]:
        """The trainings that wait for their turn, the next one first."""
        return [entry for entry in self.entries if entry.to_begin]

    @property
    def unfinished(self) -> list[QueueEntry]:
        """The trainings that are not over."""
        return [entry for entry in self.entries if entry.unfinished]

    @property
    def running(self) -> QueueEntry | None:
        """The training in progress."""
        return next((entry for entry in self.entries if entry.status == "running"), None)

    def find(self, entry_id: str) -> QueueEntry | None:
        """Return the training with an id."""
        return next((entry for entry in self.entries if entry.id == entry_id), None)

    def with_entry(self, changed: QueueEntry) -> QueueContents:
        """Return the queue with another state of one of its trainings."""
        return replace(self, entries=tuple(changed if entry.id == changed.id else entry for entry in self.entries))

    def map(self, change: Callable[[QueueEntry], QueueEntry]) -> QueueContents:
        """Return the queue with every training changed."""
        return replace(self, entries=tuple(map(change, self.entries)))

    def without(self, removed: Iterable[QueueEntry]) -> QueueContents:
        """Return the queue without some trainings, which can be restored."""
        gone = tuple(removed)
        ids = {entry.id for entry in gone}
        left = tuple(entry for entry in self.entries if entry.id not in ids)
        return replace(self, entries=left, removed=(*self.removed, *gone)[-MAX_KEPT:])

    def trimmed(self) -> QueueContents:
        """Return the queue with the newest of the trainings that have ended."""
        ended = [entry for entry in self.entries if not entry.unfinished]
        return self.without(ended[:-MAX_KEPT]) if len(ended) > MAX_KEPT else self

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, as the API answers them."""
        return {"paused": self.paused, "why_paused": self.why_paused, "entries": [entry.to_json() for entry in self.entries]}

    def to_bytes(self) -> bytes:
        """Return what the file holds."""
        record = {
            "version": _VERSION,
            "paused": self.paused,
            "why_paused": encode(self.why_paused),
            "next": self.next_number,
            "entries": [*(entry.to_record() for entry in self.entries), *self.unreadable],
            "removed": [entry.to_record() for entry in self.removed],
        }
        return json.dumps(record, indent=1).encode()


def read_queue(file: Path) -> QueueContents:
    """Read the queue; it is empty if there is no file.

    Raises:
        OSError: The file cannot be read.
        ValueError: It does not hold a queue.
    """
    try:
        data = read_regular_file(file, MAX_FILE)
    except FileNotFoundError:
        return QueueContents()
    if len(data) > MAX_FILE:
        raise ValueError(f"{file} is larger than {MAX_FILE} bytes")
    try:
        values: Any = json.loads(data.decode("utf-8"))
        return _parse(values)
    except (RecursionError, TypeError, AttributeError, KeyError, OverflowError) as error:
        raise ValueError(f"{file} does not hold a queue") from error


def _parse(values: dict[str, Any]) -> QueueContents:
    read = [(_parse_entry(value), value) for value in cast("list[Any]", values["entries"])]
    removed = (_parse_entry(value) for value in values.get("removed", ()))
    entries = tuple(entry for entry, _ in read if entry is not None)
    used = [int(entry.id) for entry in entries if entry.id.isdecimal()]
    return QueueContents(
        entries,
        tuple(entry for entry in removed if entry is not None),
        paused=bool(values["paused"]),
        why_paused=decode(values.get("why_paused", "")),
        next_number=max([int(values["next"]), *(number + 1 for number in used)]),
        unreadable=tuple(value for entry, value in read if entry is None),
    )


def _parse_entry(values: Any) -> QueueEntry | None:
    """Return a training; None if it is of another version."""
    try:
        texts = {name: str(values[name]) for name in ("id", "checkpoint", "checkpoint_hash", "added", "run")}
        if values["status"] not in STATUSES:
            return None
        return QueueEntry(
            **texts,
            spec=parse_spec(values["spec"]),
            status=values["status"],
            notes=tuple(decode(note) for note in values["notes"]),
            error=decode(values["error"]),
            hint=decode(values["hint"]),
        )
    except (TypeError, ValueError, KeyError, AttributeError):
        return None
