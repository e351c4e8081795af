"""Caption files: the `.txt` beside a training image, as text."""

from __future__ import annotations

import codecs
from pathlib import Path

from train_embedding.embeddings.formats.impostors import describe_impostor
from train_embedding.embeddings.regular_files import read_regular_file
from train_embedding.errors import UnreadableFile

MAX_CAPTION_BYTES = 64 * 1024
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # which begins as UTF-16 does
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"Byte order marks, by which an encoding is certain."


def read_caption_file(file: Path) -> str:
    """Read a caption file: UTF-8, or UTF-16 and UTF-32 with a byte order mark.

    Returns:
        Its words with single spaces between them.

    Raises:
        UnreadableFile: It cannot be read, is too large, is not text, or is something else that was saved under its name.
    """
    what = f'The caption file "{file.name}"'
    try:
        data = read_regular_file(file, MAX_CAPTION_BYTES)
    except OSError as error:
        raise UnreadableFile(f"{what} cannot be read: {error.strerror or error}.") from error
    if impostor := describe_impostor(data):
        raise UnreadableFile(f"{what} {impostor}.")
    if len(data) > MAX_CAPTION_BYTES:
        raise UnreadableFile(f"{what} is larger than {MAX_CAPTION_BYTES // 1024} KB.")
    try:
        text = decoded(data)
    except UnicodeDecodeError as error:
        raise UnreadableFile(f"{what} is not UTF-8 or UTF-16 text. Save it as UTF-8.") from error
    if "\0" in text:  # UTF-16 without a mark, or no text at all
        raise UnreadableFile(f"{what} is not text, or its encoding is unknown. Save it as UTF-8.")
    return " ".join(text.split())


def decoded(data: bytes) -> str:
    """Decode UTF-8, or what its byte order mark says. Raises UnicodeDecodeError."""
    return data.decode(next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8"))
