"""What an embedding file holds, as lists tell of it, and what harm it could do to a program that trusts it."""

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
UNSEEN = "was not looked into"
IN_DOUBT = (UNSEEN, "holds more than could be looked through")
"What stands in place of a harm that is known; the second is `embeddings.formats.harm.UNFOLLOWED`, which needs torch."


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
    harm: str = ""
    "What speaks against handing it to a program that runs pickles, as `embeddings.formats.harm` tells it."
    rescuable: bool = False
    "Whether it does such harm, and its vectors can be read all the same."

    @property
    def is_half_of_sdxl(self) -> bool:
        """Whether it has vectors for one of SDXL's two text encoders alone."""
        return self.family == "SDXL" and len(self.widths) == 1


def content_at(path: Path) -> Content:
    """Reads a file; one that cannot be read gives the reason, and what harm is in it."""
    from train_embedding.embeddings.formats import TOKEN, read_bytes, read_contents
    from train_embedding.embeddings.formats.harm import harm_in

    try:
        data = read_contents(path)
    except (UnreadableFile, NotFound) as error:
        return Content(problem=error.message, harm=_harm_of_large(path))
    harm = harm_in(data, path.name)
    try:
        embedding = read_bytes(data, path.name)
    except UnreadableFile as error:
        return Content(problem=error.message, harm=harm, rescuable=bool(harm) and _can_be_rescued(data, path.name))
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
        harm=harm,
        rescuable=bool(harm),
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
        content.harm,
    ]
    numbers: list[Any] = [content.vectors, *content.widths.values()]
    if not all(isinstance(text, str) for text in texts) or not all(isinstance(number, int) for number in numbers):
        raise ValueError("this is no content of a file")
    return content


def _harm_of_large(path: Path) -> str:
    """The harm of a file that cannot be read as a whole: programs that trust it read it all the same."""
    from train_embedding.embeddings.formats import MAX_FILE_SIZE
    from train_embedding.embeddings.formats.harm import harm_in

    try:
        data = read_regular_file(path, MAX_FILE_SIZE)
    except OSError:  # a pipe, gone meanwhile, or never to be read, as the problem tells
        return ""
    return harm_in(data, path.name)


def _can_be_rescued(data: bytes, file_name: str) -> bool:
    from train_embedding.embeddings.formats import rescued

    try:
        rescued(data, file_name)
    except UnreadableFile:
        return False
    return True
