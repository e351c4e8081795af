"""PNG files: images encoded as PNG, the chunks that a file consists of, and its pixels without the rest."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from PIL import Image

SIGNATURE = b"\x89PNG\r\n\x1a\n"
TEXT_CHUNKS = (b"tEXt", b"zTXt", b"iTXt")

_MAX_CHUNKS = 10_000
_OVERHEAD = 64 * 2**10
"Bytes that pixels which do not compress may grow by."
_PIXEL_CHUNKS = (b"IHDR", b"PLTE", b"IDAT")
_CHANNELS = {2: 3, 6: 4}
"By colour type: RGB and RGBA."


class NotPNG(ValueError):
    """The chunks of a file are damaged; the message is the end of a sentence, without its full stop."""


@dataclass(frozen=True)
class Header:
    """The first chunk of a PNG file."""

    width: int
    height: int
    depth: int
    colour: int
    interlaced: bool

    @property
    def in_colour(self) -> bool:
        """Whether each pixel has its own red, green and blue, not an entry of a palette or a grey."""
        return self.colour in _CHANNELS

    @property
    def row(self) -> int:
        """Bytes of an uncompressed row; 0 unless the pixels have 8 bits per channel, are in colour and not interlaced."""
        channels = _CHANNELS.get(self.colour, 0)
        return 0 if self.depth != 8 or self.interlaced or not channels else 1 + self.width * channels


def read_header(stream: BinaryIO) -> Header:
    """Read the size and the type of pixels. Raises NotPNG."""
    kind, length = next(iterate_chunks(stream), (b"", 0))
    content = stream.read(13)
    if kind != b"IHDR" or length != 13 or len(content) < 13:
        raise NotPNG("its header is missing")
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", content)
    return Header(width, height, depth, colour, bool(interlaced))


def iterate_chunks(stream: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Yield the type and the length of each chunk, with the stream at the start of its content. Raises NotPNG."""
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


def encode_png(image: Image.Image) -> bytes:
    """Encode an image as a PNG file.

    Args:
        image: In a mode that PNG has, such as RGB, RGBA or L.

    Returns:
        The bytes of the file, with what Pillow takes over from `image.info`.
    """
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def strip_png(data: bytes) -> bytes:
    """Remove texts, profiles and animation, so that a decoder sees nothing but pixels. Raises NotPNG."""
    stream = io.BytesIO(data)
    parts = [SIGNATURE]
    for kind, length in iterate_chunks(stream):
        if kind in _PIXEL_CHUNKS:
            at = stream.tell()
            parts.append(data[at - 8 : at + length + 4])
    return b"".join([*parts, make_chunk(b"IEND", b"")])


def crop_top(stream: BinaryIO, rows: int) -> bytes | None:
    """Make a PNG file of the first rows, reading no more of the stream than they take.

    Returns:
        The new file; None if the pixels are not those that `Header.row` can count.

    Raises:
        NotPNG: The file is damaged, or ends before the last of these rows.
    """
    header = read_header(stream)
    rows = min(rows, header.height)
    if not header.row or not rows:
        return None
    wanted = rows * header.row
    inflate, found = zlib.decompressobj(), bytearray()
    for kind, length in iterate_chunks(stream):
        if kind == b"IDAT":
            try:
                found += inflate.decompress(stream.read(min(length, wanted + _OVERHEAD)), wanted - len(found))
            except zlib.error as error:
                raise NotPNG("its pixels are damaged") from error
            if len(found) >= wanted:
                break
    if len(found) < wanted:
        raise NotPNG("it is cut short")
    size = struct.pack(">IIBBBBB", header.width, rows, header.depth, header.colour, 0, 0, 0)
    return b"".join(
        [SIGNATURE, make_chunk(b"IHDR", size), make_chunk(b"IDAT", zlib.compress(found, 1)), make_chunk(b"IEND", b"")]
    )


def make_chunk(kind: bytes, content: bytes) -> bytes:
    """Build a chunk with its length and checksum."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
