"""What a list shows of an embedding file, and whether the file is unsafe."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from train_embedding.embeddings.regular_files import read_regular_file
from train_embedding.errors import NotFound, UnreadableFile
from train_embedding.services.formats import fingerprint

HASH_DIGITS = 12
"Of the file's SHA-256: what the WebUI writes after the name under a picture (TI hashes)."
NOT_READ = "was not read"
UNVERIFIED = (NOT_READ, "holds more than could be checked")
"Reasons that name nothing known to be unsafe; the second is `embeddings.formats.unsafe.UNVERIFIABLE`, which needs torch."


@dataclass(frozen=True, slots=True)
class Content:
    """What a file holds; the vectors themselves are not kept."""

    widths: dict[str, int] = field(default_factory=dict[str, int])
    family: str = ""
    vectors: int = 0
    step: int | None = None
    checkpoint: str | None = None
    format: str = ""
    hash: str = ""
    fingerprint: str = ""
    "The same for two files that hold the same vectors, whatever their form."
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
        """Whether it has vectors for one of SDXL's two text encoders alone."""
        return self.family == "SDXL" and len(self.widths) == 1


def content_at(path: Path) -> Content:
    """Reads a file; one that cannot be read gives the reason, and whether it is unsafe."""
    from train_embedding.embeddings.formats import TOKEN, read_bytes, read_contents
    from train_embedding.embeddings.formats.unsafe import unsafe_reason

    try:
        data = read_contents(path)
    except (UnreadableFile, NotFound) as error:
        return Content(problem=error.message, unsafe_reason=_unsafe_reason_of_large(path))
    reason = unsafe_reason(data, path.name)
    try:
        embedding = read_bytes(data, path.name)
    except UnreadableFile as error:
        return Content(problem=error.message, unsafe_reason=reason, can_sanitize=bool(reason) and _can_sanitize(data, path.name))
    return Content(
        embedding.widths,
        embedding.family,
        embedding.count,
        embedding.step,
        embedding.checkpoint_name,
        embedding.format,
        hashlib.sha256(data).hexdigest()[:HASH_DIGITS],
        fingerprint(embedding),
        token=embedding.metadata.get(TOKEN, "") if embedding.format == "diffusers" else "",
        unsafe_reason=reason,
        can_sanitize=bool(reason),
    )


def content_from(values: Any) -> Content:
    """A content that was kept as JSON. Raises TypeError, ValueError, KeyError for whatever is none."""
    content = Content(**values)
    widths: Any = content.widths
    if not isinstance(widths, dict):
        raise TypeError("widths are a mapping")
    texts: list[Any] = [
        content.family,
        content.format,
        content.hash,
        content.fingerprint,
        content.problem,
        content.token,
        content.unsafe_reason,
    ]
    numbers: list[Any] = [content.vectors, *content.widths.values()]
    if not all(isinstance(text, str) for text in texts) or not all(isinstance(number, int) for number in numbers):
        raise ValueError("this is no content of a file")
    return content


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
