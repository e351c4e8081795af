"""Changes of a dataset's files that can be undone: what each file contained before and after."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from train_embedding.embeddings.regular_files import read_regular_file
from train_embedding.embeddings.storage import remove_file
from train_embedding.errors import Conflict, NotFound, StorageFailed, UnreadableFile
from train_embedding.messages import NOTHING, Message, msg, plural
from train_embedding.services.datasets.contents import Contents
from train_embedding.services.store.transaction import Change, Journal

MAX_CHANGES = 20
"Number of changes that can be undone."
MAX_BYTES = 256 * 2**20
"Largest file of a change."
Record = dict[Path, tuple[bytes | None, bytes | None]]
"The content of each file before and after a change; None if there is no file."


@dataclass(frozen=True)
class Subject:
    """What a history is about.

    Attributes:
        folder: The subfolder with the changes, a JSON file each.
        has: Whether a file, by its name, belongs to the subject; no other file is ever changed.
        read: Returns the content of a file; None if there is none. Raises UnreadableFile.
        nothing: Says that there is nothing to undo.
        changed: Says that all files were changed since.
    """

    folder: str
    has: Callable[[str], bool]
    read: Callable[[Path], bytes | None]
    nothing: Message
    changed: Message


@dataclass(frozen=True)
class Undone:
    """The outcome of an undo."""

    files: tuple[Path, ...]
    "The files that are as they were before."
    note: Message = NOTHING
    "About files that were changed by others since, and are left as they are."


class History:
    """The changes of some files of datasets. Each is made completely or not at all.

    Args:
        contents: Makes the changes.
        subject: What the files are.
    """

    def __init__(self, contents: Contents, subject: Subject) -> None:
        self._contents = contents
        self._subject = subject

    def change(self, folder: Path, wanted: Callable[[], Mapping[Path, bytes | None]], more: Change | None = None) -> list[Path]:
        """Give files these contents, and remember how they were; None removes a file.

        Args:
            folder: The dataset.
            wanted: Returns the contents. It is called while no other program changes the dataset.
            more: What else is done in the same change; it is not undone.

        Returns:
            The files that changed.

        Raises:
            UnreadableFile: A file cannot be read.
            StorageFailed: The files cannot be written; nothing has changed.
        """
        with self._contents.change(folder) as journal:
            contents = wanted()
            before = {file: self._subject.read(file) for file in contents}
            after = {file: content for file, content in contents.items() if content != before[file]}
            if after:
                record = {file: (before[file], content) for file, content in after.items()}
                self.remember(folder, record, journal, after, more=more)
        return list(after)

    def undo(self, folder: Path) -> Undone:
        """Undo the last change. Files that were changed by others since are left as they are.

        Raises:
            NotFound: There is nothing to undo.
            Conflict: All files were changed since.
            StorageFailed: The files cannot be written; nothing has changed.
        """
        with self._contents.change(folder) as journal:
            records = self._records(folder)
            if not records:
                raise NotFound(self._subject.nothing)
            record = self._read_record(records[-1], folder)
            restored = {file: before for file, (before, after) in record.items() if self._is(file, after)}
            changed = len(record) - len(restored)
            journal.commit(_change_to({**restored, records[-1]: None}))
        if record and not restored:
            raise Conflict(self._subject.changed)
        note = plural(
            "{count} file was changed since, and is left as it is.",
            "{count} files were changed since, and are left as they are.",
            changed,
        )
        return Undone(tuple(restored), note if changed else NOTHING)

    def count(self, folder: Path) -> int:
        """Return the number of changes that can be undone."""
        return len(self._records(folder))

    def remember(
        self,
        folder: Path,
        record: Mapping[Path, tuple[bytes | None, bytes | None]],
        journal: Journal,
        after: Mapping[Path, bytes | None],
        number: int = 0,
        more: Change | None = None,
    ) -> int:
        """Make a change, and write down how to undo it, with the change of this number if it can still be undone.

        Args:
            folder: The dataset.
            record: How the files were and will be.
            journal: Makes the change.
            after: The new contents.
            number: Of the change that this one continues; 0 begins a change.
            more: What else is done in the same change.

        Returns:
            The number of the change.
        """
        records = self._records(folder)
        continued = next((file for file in records if int(file.stem) == number), None)
        earlier = self._read_record(continued, folder) if continued else {}
        if continued is None:
            number = int(records[-1].stem) + 1 if records else 1
        file = self._contents.own_folder(folder) / self._subject.folder / f"{number:08}.json"
        first = {path: (earlier.get(path, texts)[0], texts[1]) for path, texts in record.items()}
        # One change, so that a process that is killed leaves both or neither.
        contents = {file: _record_to_json({**earlier, **first}, folder), **after}
        journal.commit(_change_to(contents) + (more or Change()))
        if continued is None:
            for old in records[: max(0, len(records) + 1 - MAX_CHANGES)]:
                remove_file(old, missing_ok=True)
        return number

    def _is(self, file: Path, content: bytes | None) -> bool:
        """Whether a file has a content. One that cannot be read was changed by others."""
        try:
            return self._subject.read(file) == content
        except UnreadableFile:
            return False

    def _records(self, folder: Path) -> list[Path]:
        where = self._contents.own_folder(folder) / self._subject.folder
        try:
            return sorted(path for path in where.iterdir() if path.suffix == ".json" and path.stem.isdecimal())
        except FileNotFoundError:
            return []

    def _read_record(self, file: Path, folder: Path) -> Record:
        """Read how files were before and after a change. Raises StorageFailed."""
        try:
            values: Any = json.loads(read_regular_file(file, MAX_BYTES))
            found: Record = {}
            for name, *texts in cast("list[list[Any]]", values):
                relative = Path(os.fsdecode(bytes.fromhex(name)))
                if relative.is_absolute() or ".." in relative.parts or not self._subject.has(relative.name):
                    raise ValueError(f"{relative} does not belong to this history")
                before, after = (None if text is None else bytes.fromhex(text) for text in texts)
                found[folder / relative] = before, after
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise StorageFailed(msg("What was changed last is not known any more: {reason}.", reason=error)) from error
        return found


def _change_to(contents: Mapping[Path, bytes | None]) -> Change:
    """Return the change that gives files these contents; None removes a file."""
    writes = tuple((file, content) for file, content in contents.items() if content is not None)
    return Change(
        writes=writes,
        removes=tuple(file for file, content in contents.items() if content is None),
        replaces=tuple(file for file, _ in writes if os.path.lexists(file)),
    )


def _record_to_json(record: Mapping[Path, tuple[bytes | None, bytes | None]], folder: Path) -> bytes:
    values = [
        [os.fsencode(path.relative_to(folder)).hex(), *(None if text is None else text.hex() for text in texts)]
        for path, texts in record.items()
    ]
    return json.dumps(values).encode()
