"""The chunks of a PNG file: where they are, its text about an embedding, and its pixels without the rest."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

SIGNATURE = b"\x89PNG\r\n\x1a\n"
KEYWORD = b"sd-ti-embedding"
MAX_TEXT = 6 * 2**20
"Bytes of the text chunk, unpacked: base64 of the longest JSON that is read."

_MAX_CHUNKS = 10_000
_OVERHEAD = 64 * 2**10
"Bytes that pixels which do not compress may grow by."
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_PIXELS = (b"IHDR", b"PLTE", b"IDAT")
_CHANNELS = {2: 3, 6: 4}
"By colour type: RGB and RGBA."


class NotPNG(Exception):
    """A sentence's end: what is wrong with the chunks."""


@dataclass(frozen=True)
class Header:
    """What the first chunk says."""

    width: int
    height: int
    depth: int
    colour: int
    interlaced: bool

    @property
    def in_colour(self) -> bool:
        """Whether each pixel has red, green and blue of its own, which values need; a palette or greys cannot carry them."""
        return self.colour in _CHANNELS

    @property
    def row(self) -> int:
        """Bytes of a row, unpacked; 0 for kinds of pixels that carry no embedding."""
        channels = _CHANNELS.get(self.colour, 0)
        return 0 if self.depth != 8 or self.interlaced or not channels else 1 + self.width * channels


def header(stream: BinaryIO) -> Header:
    """The size and kind of a picture. Raises NotPNG."""
    kind, length = next(chunks(stream), (b"", 0))
    content = stream.read(13)
    if kind != b"IHDR" or length != 13 or len(content) < 13:
        raise NotPNG("its header is missing")
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", content)
    return Header(width, height, depth, colour, bool(interlaced))


def chunks(stream: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Kind and length of each chunk, with the stream at the beginning of its content. Reads none of it. Raises NotPNG."""
    end = stream.seek(0, io.SEEK_END)
    position = len(SIGNATURE)
    for _ in range(_MAX_CHUNKS):
        stream.seek(position)
        head = stream.read(8)
        if not head:
            return
        length = int.from_bytes(head[:4], "big")
        if len(head) < 8 or position + 12 + length > end:
            raise NotPNG("it is cut short")
        yield head[4:], length
        if head[4:] == b"IEND":
            return
        position += 12 + length
    raise NotPNG("it is cut into too many pieces")


def embedding_text(stream: BinaryIO) -> bytes | None:
    """The text that a picture carries under `sd-ti-embedding`; None where there is none. Raises NotPNG for a damaged one."""
    for kind, length in chunks(stream):
        if kind in _TEXTS and stream.read(len(KEYWORD) + 1) == KEYWORD + b"\0":
            rest = length - len(KEYWORD) - 1
            if rest > MAX_TEXT:
                raise NotPNG(f"it carries a text of more than {MAX_TEXT // 2**20} MB")
            text = stream.read(rest)
            if int.from_bytes(stream.read(4), "big") != zlib.crc32(kind + KEYWORD + b"\0" + text):
                raise NotPNG("the text it carries is damaged")
            return _unpacked(kind, text)
    return None


def pixels_alone(data: bytes) -> bytes:
    """The same picture without texts, profiles and animation: nothing for a decoder to trip over. Raises NotPNG."""
    stream = io.BytesIO(data)
    parts = [SIGNATURE]
    for kind, length in chunks(stream):
        if kind in _PIXELS:
            at = stream.tell()
            parts.append(data[at - 8 : at + length + 4])
    return b"".join([*parts, chunk(b"IEND", b"")])


def top_alone(stream: BinaryIO, rows: int) -> bytes | None:
    """The picture's first rows as a picture, from the first bytes of the file; None for one of another kind. Raises NotPNG."""
    told = header(stream)
    rows = min(rows, told.height)
    if not told.row or not rows:
        return None
    wanted = rows * told.row
    inflate, found = zlib.decompressobj(), bytearray()
    for kind, length in chunks(stream):
        if kind == b"IDAT":
            try:
                found += inflate.decompress(stream.read(min(length, wanted + _OVERHEAD)), wanted - len(found))
            except zlib.error as error:
                raise NotPNG("its pixels are damaged") from error
            if len(found) >= wanted:
                break
    if len(found) < wanted:
        raise NotPNG("it is cut short")
    size = struct.pack(">IIBBBBB", told.width, rows, told.depth, told.colour, 0, 0, 0)
    return b"".join([SIGNATURE, chunk(b"IHDR", size), chunk(b"IDAT", zlib.compress(found, 1)), chunk(b"IEND", b"")])


def without_text(data: bytes) -> bytes:
    """A PNG file without its texts about an embedding. Raises NotPNG."""
    stream = io.BytesIO(data)
    parts = [SIGNATURE]
    for kind, length in chunks(stream):
        at = stream.tell()
        if kind not in _TEXTS or not data.startswith(KEYWORD + b"\0", at):
            parts.append(data[at - 8 : at + length + 4])
    return b"".join(parts)


def with_text(data: bytes, text: bytes) -> bytes:
    """A PNG file with the text put after its header, where a reader finds it before the pixels."""
    after_header = len(SIGNATURE) + 25
    return data[:after_header] + chunk(b"tEXt", KEYWORD + b"\0" + text) + data[after_header:]


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


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
