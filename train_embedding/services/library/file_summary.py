"""What a list shows of an embedding file and of the notes beside it, and whether the file is unsafe."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from train_embedding.embeddings.regular_files import read_regular_file
from train_embedding.errors import NotFound, UnreadableFile
from train_embedding.services.sidecars.notes import (
    NO_NOTES,
    Notes,
    has_description,
    parse_notes,
    read_description,
    read_notes_file,
)

if TYPE_CHECKING:
    from train_embedding.embeddings.embedding import Embedding

HASH_DIGITS = 12
"Of the file's SHA-256: what the WebUI writes after the name under a picture (TI hashes)."
NOT_READ = "was not read"
UNVERIFIED = (NOT_READ, "contains data that could not be verified as safe")
"Reasons that name nothing known to be unsafe; the second is `embeddings.formats.unsafe.UNVERIFIABLE`, which needs torch."


logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FileSummary:
    """What a file holds; the vectors themselves are not kept."""

    widths: dict[str, int] = field(default_factory=dict[str, int])
    family: str = ""
    vectors: int = 0
    step: int | None = None
    checkpoint: str | None = None
    format: str = ""
    hash: str = ""
    fingerprint: str = ""
    "The same for two files that hold the same vectors, whatever their format."
    problem: str = ""
    "Why the file cannot be read, a sentence; empty where it can."
    token: str = ""
    "The word that it was trained as, where its file's name says nothing; empty for most."
    unsafe_reason: str = ""
    "The end of a sentence by `embeddings.formats.unsafe.unsafe_reason`; empty where the file is not unsafe."
    can_sanitize: bool = False
    "Whether the file is unsafe, and its vectors can be read."

    @property
    def is_half_of_sdxl(self) -> bool:
        """Whether it has vectors for only one of SDXL's two text encoders."""
        return self.family == "SDXL" and len(self.widths) == 1


@dataclass(frozen=True)
class NotesFile:
    """The `name.json` of an embedding."""

    notes: Notes = NO_NOTES
    problem: str = ""
    "Why the file cannot be read, a sentence; empty if it can, or if there is none."
    described: bool = False
    "Whether it has a description, which may be empty."


@dataclass(frozen=True)
class TextFile:
    """A description in a file of its own, `name.txt`."""

    text: str = ""


NO_NOTES_FILE = NotesFile()


def summarize(path: Path) -> FileSummary:
    """Read a file. If it cannot be read, the summary says why, and whether the file is unsafe."""
    from train_embedding.embeddings.formats import TOKEN, read_bytes, read_contents
    from train_embedding.embeddings.formats.unsafe import unsafe_reason

    try:
        data = read_contents(path)
    except (UnreadableFile, NotFound) as error:
        return FileSummary(problem=error.message, unsafe_reason=_unsafe_reason_of_large(path))
    reason = unsafe_reason(data, path.name)
    try:
        embedding = read_bytes(data, path.name)
    except UnreadableFile as error:
        return FileSummary(
            problem=error.message, unsafe_reason=reason, can_sanitize=bool(reason) and _can_sanitize(data, path.name)
        )
    return FileSummary(
        embedding.widths,
        embedding.family,
        embedding.count,
        embedding.step,
        embedding.checkpoint_name,
        embedding.format,
        hashlib.sha256(data).hexdigest()[:HASH_DIGITS],
        _fingerprint(embedding),
        token=embedding.metadata.get(TOKEN, "") if embedding.format == "diffusers" else "",
        unsafe_reason=reason,
        can_sanitize=bool(reason),
    )


def summary_from_json(values: Any) -> FileSummary:
    """Read a summary that was kept as JSON. Raises TypeError, ValueError, KeyError for anything else."""
    summary = FileSummary(**values)
    widths: Any = summary.widths
    if not isinstance(widths, dict):
        raise TypeError("widths are a mapping")
    texts: list[Any] = [
        summary.family,
        summary.format,
        summary.hash,
        summary.fingerprint,
        summary.problem,
        summary.token,
        summary.unsafe_reason,
    ]
    numbers: list[Any] = [summary.vectors, *summary.widths.values()]
    if not all(isinstance(text, str) for text in texts) or not all(isinstance(number, int) for number in numbers):
        raise ValueError("these are not the values of a summary")
    return summary


def _unsafe_reason_of_large(path: Path) -> str:
    """Whether a file that is too large to read here is unsafe: programs that trust it read it all the same."""
    from train_embedding.embeddings.formats import MAX_FILE_SIZE
    from train_embedding.embeddings.formats.unsafe import unsafe_reason

    try:
        data = read_regular_file(path, MAX_FILE_SIZE)
    except OSError:  # a pipe, gone meanwhile, or never to be read, as the problem tells
        return ""
    return unsafe_reason(data, path.name)


def _can_sanitize(data: bytes, file_name: str) -> bool:
    from train_embedding.embeddings.formats import read_sanitized

    try:
        read_sanitized(data, file_name)
    except UnreadableFile:
        return False
    return True


def _fingerprint(embedding: Embedding) -> str:
    """The same for the same vectors, bit for bit. The key of a single text encoder does not count: its width tells it."""
    digest = hashlib.sha256()
    for key, vectors in sorted(embedding.vectors.items()):
        digest.update(f"{key if len(embedding.vectors) > 1 else ''} {[*vectors.shape]} ".encode())
        digest.update(vectors.numpy().tobytes())
    return digest.hexdigest()[:32]


def unreadable_notes(path: Path, error: OSError) -> NotesFile:
    return NotesFile(problem=f'"{path.name}" cannot be read: {error.strerror or error}.')


def unreadable_text(path: Path, error: OSError) -> TextFile:
    logger.info("The description in %s cannot be read: %s", path, error)
    return TextFile()


def read_text(path: Path) -> TextFile:
    return TextFile(read_description(path))


def text_from_json(values: Any) -> TextFile:
    text = values["text"]
    if not isinstance(text, str):
        raise TypeError("this is not a text")
    return TextFile(text)


def read_notes(path: Path) -> NotesFile:
    try:
        data = read_notes_file(path)
        return NO_NOTES_FILE if data is None else NotesFile(parse_notes(data), described=has_description(data))
    except UnreadableFile as error:
        return NotesFile(problem=error.message)
    except ValueError as error:
        return NotesFile(problem=f'"{path.name}" holds no notes that can be read: {error}')


def notes_from_json(values: Any) -> NotesFile:
    notes = Notes(**values["notes"])
    if any(type(value) is not type(getattr(NO_NOTES, field)) for field, value in vars(notes).items()):
        raise TypeError("these are not notes")
    return NotesFile(notes, described=bool(values["described"]))
