"""PNG files with the values in a text chunk, as base64-encoded JSON: the WebUI's trainer saves its images this way."""

from __future__ import annotations

import base64
import binascii
import io
import zlib
from typing import BinaryIO

from train_embedding.embeddings.format_names import FormatName
from train_embedding.embeddings.formats.containers import images, json_text
from train_embedding.embeddings.formats.content import Content, unreadable
from train_embedding.images.png import SIGNATURE, TEXT_CHUNKS, NotPNG, iterate_chunks, make_chunk
from train_embedding.messages import msg

SUFFIXES: tuple[str, ...] = (".png",)
FORMAT: FormatName = "png"
KEYWORD = b"sd-ti-embedding"
MAX_TEXT = 6 * 2**20
"Bytes of the uncompressed text: the longest JSON that is read, in base64."


def sniff(data: bytes) -> bool:
    """Return whether this is a PNG file with such a text, or a damaged PNG file."""
    if not data.startswith(SIGNATURE):
        return False
    try:
        return embedding_text(io.BytesIO(data)) is not None
    except NotPNG:
        return True


def read(data: bytes, file: str) -> Content:
    """Read the values in the text chunk; the pixels are not decoded.

    Raises:
        UnreadableFile: The file is damaged, or its text is not an embedding.
    """
    try:
        text = embedding_text(io.BytesIO(data)) or b""
        values = json_text.decode(base64.b64decode(text, validate=True), file)
    except NotPNG as error:
        raise unreadable(file, msg("is damaged or not an embedding: {reason}.", reason=error.reason)) from error
    except binascii.Error as error:
        raise unreadable(file, msg("is damaged: its text is not valid base64.")) from error
    return Content(values, values, FORMAT)


def write(content: Content, suffix: str) -> bytes:
    """Draw a card, with the values in its text chunk."""
    return with_values(images.encode(images.draw(content.values), suffix), content)


def with_values(image: bytes, content: Content) -> bytes:
    """Put values into the text chunk of a PNG file that has none."""
    return _with_text(image, base64.b64encode(json_text.encode(content.values)))


def with_new_name(data: bytes, name: str) -> bytes:
    """Change the name of the embedding in an image's text chunk.

    Raises:
        UnreadableFile: The file is damaged, or its text is not an embedding.
    """
    values = {**read(data, name).values, "name": name}
    return _with_text(_without_text(data), base64.b64encode(json_text.encode(values)))


def embedding_text(stream: BinaryIO) -> bytes | None:
    """Read the text of an image under KEYWORD; None if there is none.

    Raises:
        NotPNG: The file or the text is damaged.
    """
    for kind, length in iterate_chunks(stream):
        if kind in TEXT_CHUNKS and stream.read(len(KEYWORD) + 1) == KEYWORD + b"\0":
            rest = length - len(KEYWORD) - 1
            if rest > MAX_TEXT:
                raise NotPNG(msg("its text is larger than {limit} MB", limit=MAX_TEXT // 2**20))
            text = stream.read(rest)
            if int.from_bytes(stream.read(4), "big") != zlib.crc32(kind + KEYWORD + b"\0" + text):
                raise NotPNG(msg("its text is damaged"))
            return _decompressed_text(kind, text)
    return None


def _without_text(data: bytes) -> bytes:
    """Remove the texts under KEYWORD from a PNG file."""
    stream = io.BytesIO(data)
    parts = [SIGNATURE]
    for kind, length in iterate_chunks(stream):
        at = stream.tell()
        if kind not in TEXT_CHUNKS or not data.startswith(KEYWORD + b"\0", at):
            parts.append(data[at - 8 : at + length + 4])
    return b"".join(parts)


def _with_text(data: bytes, text: bytes) -> bytes:
    """Insert a text under KEYWORD after the header of a PNG file, before the pixels."""
    after_header = len(SIGNATURE) + 25
    return data[:after_header] + make_chunk(b"tEXt", KEYWORD + b"\0" + text) + data[after_header:]


def _decompressed_text(kind: bytes, text: bytes) -> bytes:
    """Return the text of a chunk after its keyword, decompressed if necessary (PNG specification, section 11.3.3)."""
    packed = kind == b"zTXt"
    if kind == b"zTXt":
        text = text[1:]
    elif kind == b"iTXt":
        packed = text[:1] == b"\1"
        text = text[2:].split(b"\0", 2)[-1]  # language and translated keyword
    if not packed:
        return text
    inflate = zlib.decompressobj()
    try:
        unpacked = inflate.decompress(text, MAX_TEXT)
    except zlib.error as error:
        raise NotPNG(msg("its text is damaged")) from error
    if not inflate.eof:
        raise NotPNG(msg("its text is damaged, or larger than {limit} MB", limit=MAX_TEXT // 2**20))
    return unpacked
