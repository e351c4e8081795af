"""Summaries of embedding files and of their notes, as the index keeps them."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from train_embedding.embeddings.regular_files import read_regular_file
from train_embedding.errors import NotFound, UnreadableFile, cannot_read
from train_embedding.messages import NOTHING, Message, decode, encode, msg
from train_embedding.services.sidecars.notes import (
    NO_NOTES,
    Notes,
    NotNotes,
    has_description,
    parse_notes,
    read_description,
    read_notes_file,
)

if TYPE_CHECKING:
    from train_embedding.embeddings.embedding import Embedding

HASH_DIGITS = 12
"Digits of the file's SHA-256, as in the WebUI's infotexts (TI hashes)."
NOT_READ = msg("was not read")
UNVERIFIED = (NOT_READ, "contains data that could not be verified as safe")
"Reasons without known unsafe content. The second is `embeddings.formats.unsafe.UNVERIFIABLE`, whose module imports torch."


logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FileSummary:
    """The contents of an embedding file, without the vectors."""

    widths: dict[str, int] = field(default_factory=dict[str, int])
    family: str = ""
    vectors: int = 0
    step: int | None = None
    checkpoint: str | None = None
    format: str = ""
    hash: str = ""
    fingerprint: str = ""
    "The same for all files with the same vectors, whatever their format."
    problem: Message = NOTHING
    "Why the file cannot be read; empty if it can."
    token: str = ""
    "The trigger word that it was trained with, in formats that have one; empty for most."
    unsafe_reason: Message = NOTHING
    "What `embeddings.formats.unsafe.unsafe_reason` returns: the end of a sentence, or empty if the file is not unsafe."
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
    problem: Message = NOTHING
    "Why the file cannot be read; empty if it can, or if there is none."
    described: bool = False
    "Whether it has a description, which may be empty."


@dataclass(frozen=True)
class TextFile:
    """The description of an embedding in a separate file, `name.txt`."""

    text: str = ""


NO_NOTES_FILE = NotesFile()


def summarize(path: Path) -> FileSummary:
    """Summarize a file. If it cannot be read, the summary has the reason, and whether the file is unsafe."""
    from train_embedding.embeddings.formats import TOKEN, read_bytes, read_contents
    from train_embedding.embeddings.formats.unsafe import unsafe_reason

    try:
        data = read_contents(path)
    except (UnreadableFile, NotFound) as error:
        return FileSummary(problem=error.message, unsafe_reason=_unsafe_reason_if_large(path))
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
    """Convert JSON values of the index to a summary. Raises TypeError, ValueError, KeyError for anything else."""
    messages: dict[str, Any] = {name: decode(values[name]) for name in ("problem", "unsafe_reason")}
    summary = FileSummary(**{**values, **messages})
    widths: Any = summary.widths
    if not isinstance(widths, dict):
        raise TypeError("widths are a mapping")
    texts: list[Any] = [
        summary.family,
        summary.format,
        summary.hash,
        summary.fingerprint,
        summary.token,
    ]
    numbers: list[Any] = [summary.vectors, *summary.widths.values()]
    if not all(isinstance(text, str) for text in texts) or not all(isinstance(number, int) for number in numbers):
        raise ValueError("these are not the values of a summary")
    return summary


def to_record(value: object) -> dict[str, Any]:
    """Convert a summary, notes or a description to JSON values for the index. Its messages can still be translated."""
    values = asdict(value)  # pyright: ignore[reportCallIssue, reportArgumentType, reportUnknownVariableType]
    return {name: encode(item) if isinstance(item, str) else item for name, item in values.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType, reportUnknownArgumentType]


def _unsafe_reason_if_large(path: Path) -> Message:
    """Return why a file that is too large to be read here is unsafe: other programs read it regardless of its size."""
    from train_embedding.embeddings.formats import MAX_FILE_SIZE
    from train_embedding.embeddings.formats.unsafe import unsafe_reason

    try:
        data = read_regular_file(path, MAX_FILE_SIZE)
    except OSError:  # a pipe, or a file that cannot be read, as the problem says
        return NOTHING
    return unsafe_reason(data, path.name)


def _can_sanitize(data: bytes, file_name: str) -> bool:
    from train_embedding.embeddings.formats import read_sanitized

    try:
        read_sanitized(data, file_name)
    except UnreadableFile:
        return False
    return True


def _fingerprint(embedding: Embedding) -> str:
    """Return a hash of the vectors. The key of a single text encoder is ignored: its width identifies it."""
    digest = hashlib.sha256()
    for key, vectors in sorted(embedding.vectors.items()):
        digest.update(f"{key if len(embedding.vectors) > 1 else ''} {[*vectors.shape]} ".encode())
        digest.update(vectors.numpy().tobytes())
    return digest.hexdigest()[:32]


def unreadable_notes(path: Path, error: OSError) -> NotesFile:
    """Return the value for a notes file that cannot be opened."""
    return NotesFile(problem=cannot_read(path.name, error))


def unreadable_text(path: Path, error: OSError) -> TextFile:
    """Return the value for a description that cannot be opened, and log the reason."""
    logger.info("The description in %s cannot be read: %s", path, error)
    return TextFile()


def read_text(path: Path) -> TextFile:
    """Read a description."""
    return TextFile(read_description(path))


def text_from_json(values: Any) -> TextFile:
    """Convert JSON values of the index to a description. Raises TypeError, KeyError for anything else."""
    text = values["text"]
    if not isinstance(text, str):
        raise TypeError("this is not a text")
    return TextFile(text)


def read_notes(path: Path) -> NotesFile:
    """Read a notes file. If it cannot be read, the value has the reason."""
    try:
        data = read_notes_file(path)
        return NO_NOTES_FILE if data is None else NotesFile(parse_notes(data), described=has_description(data))
    except UnreadableFile as error:
        return NotesFile(problem=error.message)
    except NotNotes as error:
        return NotesFile(problem=msg('"{name}" is not a notes file: {reason}.', name=path.name, reason=error.reason))


def notes_from_json(values: Any) -> NotesFile:
    """Convert JSON values of the index to notes. Raises TypeError, KeyError for anything else."""
    notes = Notes(**values["notes"])
    if any(type(value) is not type(getattr(NO_NOTES, field)) for field, value in vars(notes).items()):
        raise TypeError("these are not notes")
    return NotesFile(notes, described=bool(values["described"]))
