"""What lies in the embeddings folder, each file read once for as long as it does not change."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from train_embedding.errors import UnreadableFile
from train_embedding.services.library.file_cache import FileCache
from train_embedding.services.library.file_summary import NOT_READ, Content, content_at, content_from
from train_embedding.services.library.index import Index, Known
from train_embedding.services.sidecars.files import NOTES_SUFFIX, TEXT_SUFFIX
from train_embedding.services.sidecars.notes import (
    NO_NOTES,
    Notes,
    has_description,
    parse_notes,
    read_description,
    read_notes_file,
)
from train_embedding.services.store.scan import Seen, walk

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class NotesFile:
    notes: Notes = NO_NOTES
    problem: str = ""
    "Why the file cannot be read, a sentence; empty where it can, or where there is none."
    described: bool = False
    "Whether it has a description, be it an empty one."


@dataclass(frozen=True)
class TextFile:
    """A description in a file of its own, `name.txt`."""

    text: str = ""


_NO_FILE = NotesFile()


@dataclass(frozen=True, slots=True)
class Found:
    """A file, what it holds, and what its notes say."""

    path: Path
    name: str
    "The file's stem, or the whole name of a folder."
    folder: str
    'That it lies in, below the embeddings folder, such as "styles/old"; empty for that folder itself.'
    content: Content
    size: int
    "Bytes."
    modified: float
    "Seconds since 1970."
    sidecars: tuple[str, ...]
    notes: NotesFile


class Listing:
    """A cache over a folder, in memory and in an index on the disk. Safe to call from any thread.

    Only files that could be read are kept on the disk; what was wrong with the others each process finds out anew.
    index: gives the index, when it is needed.
    """

    def __init__(self, index: Callable[[], Index]) -> None:
        self._index = index
        self._lock = threading.Lock()
        self._stored: dict[str, Known] | None = None
        self._contents = FileCache(content_at, content_from, lambda content: not content.problem)
        self._notes = FileCache(_notes_at, _notes_from, lambda file: not file.problem)
        self._texts = FileCache(_text_at, _text_from, lambda _file: True)

    def scan(self, folder: Path) -> list[Found]:
        """Every embedding file in `folder` and below, in the order in which the WebUI walks.

        Symbolic links that lead outside stand in the list, with that as the problem, and are not followed.
        """
        with self._lock:
            if self._stored is None:
                self._stored = self._index().load()
            stored = self._stored
            found = [self._found(seen, stored) for seen in walk(folder)]
            turned = [cache.turn_over() for cache in (self._contents, self._notes, self._texts)]
            news = {path: known for changed, _ in turned for path, known in changed.items()}
            read = {path for _, seen in turned for path in seen}
            root = folder.absolute()
            gone = {path for path in stored.keys() - read if Path(path).is_relative_to(root)}
            self._index().store(news, gone)
            stored.update(news)
            for path in gone:
                del stored[path]
        return found

    def _found(self, seen: Seen, stored: dict[str, Known]) -> Found:
        notes = _NO_FILE
        name = f"{seen.name}{NOTES_SUFFIX}"
        if name in seen.sidecars:
            notes = self._notes_of(seen.path.with_name(name), stored)
        text = f"{seen.name}{TEXT_SUFFIX}"
        if text in seen.sidecars and not notes.described:
            description = self._text_of(seen.path.with_name(text), stored)
            notes = replace(notes, notes=replace(notes.notes, description=description))
        if seen.status is None:
            unread = Content(problem=seen.problem, unsafe_reason=NOT_READ)
            return Found(seen.path, seen.name, seen.folder, unread, 0, 0.0, seen.sidecars, notes)
        content = self._contents.get(seen.path, seen.status, stored)
        return Found(seen.path, seen.name, seen.folder, content, seen.status.st_size, seen.status.st_mtime, seen.sidecars, notes)

    def _text_of(self, path: Path, stored: dict[str, Known]) -> str:
        try:
            return self._texts.get(path, path.stat(), stored).text
        except OSError as error:
            logger.info("The description in %s cannot be read: %s", path, error)
            return ""

    def _notes_of(self, path: Path, stored: dict[str, Known]) -> NotesFile:
        try:
            status = path.stat()
        except OSError as error:
            return NotesFile(problem=f'"{path.name}" cannot be read: {error.strerror or error}.')
        return self._notes.get(path, status, stored)


def _text_at(path: Path) -> TextFile:
    return TextFile(read_description(path))


def _text_from(values: Any) -> TextFile:
    text = values["text"]
    if not isinstance(text, str):
        raise TypeError("this is no text")
    return TextFile(text)


def _notes_at(path: Path) -> NotesFile:
    try:
        data = read_notes_file(path)
        return _NO_FILE if data is None else NotesFile(parse_notes(data), described=has_description(data))
    except UnreadableFile as error:
        return NotesFile(problem=error.message)
    except ValueError as error:
        return NotesFile(problem=f'"{path.name}" holds no notes that can be read: {error}')


def _notes_from(values: Any) -> NotesFile:
    notes = Notes(**values["notes"])
    if any(type(value) is not type(getattr(NO_NOTES, field)) for field, value in vars(notes).items()):
        raise TypeError("these are no notes")
    return NotesFile(notes, described=bool(values["described"]))
