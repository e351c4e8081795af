"""`.png` with the values in a text chunk, as base64 of JSON: what the WebUI's trainer saves beside its images."""

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

SUFFIXES: tuple[str, ...] = (".png",)
FORMAT: FormatName = "png"
KEYWORD = b"sd-ti-embedding"
MAX_TEXT = 6 * 2**20
"Bytes of the uncompressed text chunk: base64 of the longest JSON that is read."


def sniff(data: bytes) -> bool:
    """Whether this is a PNG file with such a text, be it damaged."""
    if not data.startswith(SIGNATURE):
        return False
    try:
        return embedding_text(io.BytesIO(data)) is not None
    except NotPNG:
        return True


def read(data: bytes, file: str) -> Content:
    """The values in the text chunk; the pixels are not looked at. Raises UnreadableFile."""
    try:
        text = embedding_text(io.BytesIO(data)) or b""
        values = json_text.decode(base64.b64decode(text, validate=True), file)
    except NotPNG as error:
        raise unreadable(file, f"is damaged or no embedding: {error}.") from error
    except binascii.Error as error:
        raise unreadable(file, "is damaged: the text it carries is not base64.") from error
    return Content(values, values, FORMAT)


def write(content: Content, suffix: str) -> bytes:
    """An image of the vectors, with the values in its text chunk."""
    image = images.encode(images.drawn(content.values), suffix)
    return _with_text(image, base64.b64encode(json_text.encode(content.values)))


def called(data: bytes, name: str) -> bytes:
    """The same image with another name in its text chunk. Raises UnreadableFile."""
    values = {**read(data, name).values, "name": name}
    return _with_text(_without_text(data), base64.b64encode(json_text.encode(values)))


def embedding_text(stream: BinaryIO) -> bytes | None:
    """Read the text that an image carries under KEYWORD; None if there is none. Raises NotPNG if it is damaged."""
    for kind, length in iterate_chunks(stream):
        if kind in TEXT_CHUNKS and stream.read(len(KEYWORD) + 1) == KEYWORD + b"\0":
            rest = length - len(KEYWORD) - 1
            if rest > MAX_TEXT:
                raise NotPNG(f"it carries a text of more than {MAX_TEXT // 2**20} MB")
            text = stream.read(rest)
            if int.from_bytes(stream.read(4), "big") != zlib.crc32(kind + KEYWORD + b"\0" + text):
                raise NotPNG("the text it carries is damaged")
            return _unpacked(kind, text)
    return None


def _without_text(data: bytes) -> bytes:
    """Remove the texts about an embedding from a PNG file. Raises NotPNG."""
    stream = io.BytesIO(data)
    parts = [SIGNATURE]
    for kind, length in iterate_chunks(stream):
        at = stream.tell()
        if kind not in TEXT_CHUNKS or not data.startswith(KEYWORD + b"\0", at):
            parts.append(data[at - 8 : at + length + 4])
    return b"".join(parts)


def _with_text(data: bytes, text: bytes) -> bytes:
    """Insert a text after the header of a PNG file, where a reader finds it before the pixels."""
    after_header = len(SIGNATURE) + 25
    return data[:after_header] + make_chunk(b"tEXt", KEYWORD + b"\0" + text) + data[after_header:]


def _unpacked(kind: bytes, text: bytes) -> bytes:
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
        raise NotPNG("the text it carries is damaged") from error
    if not inflate.eof:
        raise NotPNG(f"the text it carries is damaged, or more than {MAX_TEXT // 2**20} MB")
    return unpacked
