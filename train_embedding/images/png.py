"""PNG files: encoding, reading chunks, and removing metadata."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from train_embedding.messages import Message, msg

if TYPE_CHECKING:
    from PIL import Image

SIGNATURE = b"\x89PNG\r\n\x1a\n"
TEXT_CHUNKS = (b"tEXt", b"zTXt", b"iTXt")

_MAX_CHUNKS = 10_000
_OVERHEAD = 64 * 2**10
"Bytes by which compression may enlarge incompressible pixels."
_PIXEL_CHUNKS = (b"IHDR", b"PLTE", b"IDAT")
_CHANNELS = {2: 3, 6: 4}
"Channels by colour type: RGB and RGBA."


class NotPNG(ValueError):
    """The chunks of a file are damaged.

    Attributes:
        reason: What is wrong: the end of a sentence, without a period.
    """

    def __init__(self, reason: Message) -> None:
        super().__init__(reason)
        self.reason = reason


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
        """Whether pixels have red, green and blue channels, rather than a palette index or a grey value."""
        return self.colour in _CHANNELS

    @property
    def row(self) -> int:
        """Bytes of an uncompressed row; 0 unless the image is in colour with 8 bits per channel and not interlaced."""
        channels = _CHANNELS.get(self.colour, 0)
        return 0 if self.depth != 8 or self.interlaced or not channels else 1 + self.width * channels


def read_header(stream: BinaryIO) -> Header:
    """Read the first chunk of a PNG file.

    Raises:
        NotPNG: It is missing or damaged.
    """
    kind, length = next(iterate_chunks(stream), (b"", 0))
    content = stream.read(13)
    if kind != b"IHDR" or length != 13 or len(content) < 13:
        raise NotPNG(msg("its header is missing"))
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", content)
    return Header(width, height, depth, colour, bool(interlaced))


def iterate_chunks(stream: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Yield the type and length of each chunk, with the stream positioned at the start of its content.

    Raises:
        NotPNG: The file is cut short, or has too many chunks.
    """
    end = stream.seek(0, io.SEEK_END)
    position = len(SIGNATURE)
    for _ in range(_MAX_CHUNKS):
        stream.seek(position)
        head = stream.read(8)
        if not head:
            return
        length = int.from_bytes(head[:4], "big")
        if len(head) < 8 or position + 12 + length > end:
            raise NotPNG(msg("it is cut short"))
        yield head[4:], length
        if head[4:] == b"IEND":
            return
        position += 12 + length
    raise NotPNG(msg("it consists of too many pieces"))


def encode_png(image: Image.Image) -> bytes:
    """Encode an image as a PNG file.

    Args:
        image: In a mode that PNG supports, such as RGB, RGBA or L.

    Returns:
        The bytes of the file, including the metadata that Pillow copies from `image.info`.
    """
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def strip_png(data: bytes) -> bytes:
    """Remove all chunks except the pixels: texts, profiles and animation.

    Raises:
        NotPNG: The file is damaged.
    """
    stream = io.BytesIO(data)
    parts = [SIGNATURE]
    for kind, length in iterate_chunks(stream):
        if kind in _PIXEL_CHUNKS:
            at = stream.tell()
            parts.append(data[at - 8 : at + length + 4])
    return b"".join([*parts, make_chunk(b"IEND", b"")])


def crop_top(stream: BinaryIO, rows: int) -> bytes | None:
    """Make a PNG file of the first rows, reading only as much of the stream as needed.

    Args:
        stream: The PNG file.
        rows: Number of rows, or fewer if the image is smaller.

    Returns:
        The new file; None for kinds of pixels without a known row size (see `Header.row`).

    Raises:
        NotPNG: The file is damaged, or cut short within these rows.
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
                raise NotPNG(msg("its pixels are damaged")) from error
            if len(found) >= wanted:
                break
    if len(found) < wanted:
        raise NotPNG(msg("it is cut short"))
    size = struct.pack(">IIBBBBB", header.width, rows, header.depth, header.colour, 0, 0, 0)
    return b"".join(
        [SIGNATURE, make_chunk(b"IHDR", size), make_chunk(b"IDAT", zlib.compress(found, 1)), make_chunk(b"IEND", b"")]
    )


def with_text(data: bytes, keyword: str, text: str) -> bytes:
    """Add a text to a PNG file, before the pixels, unless it has one under this keyword.

    Args:
        data: The file.
        keyword: 1 to 79 Latin letters.
        text: Any text.

    Raises:
        NotPNG: The file is damaged.
    """
    stream, key = io.BytesIO(data), keyword.encode("latin-1") + b"\0"
    for kind, _ in iterate_chunks(stream):
        if kind in TEXT_CHUNKS and stream.read(len(key)) == key:
            return data
    try:
        chunk = make_chunk(b"tEXt", key + text.encode("latin-1"))
    except UnicodeEncodeError:
        chunk = make_chunk(b"iTXt", key + b"\0\0\0\0" + text.encode("utf-8", "replace"))
    after_header = len(SIGNATURE) + 25
    return data[:after_header] + chunk + data[after_header:]


def make_chunk(kind: bytes, content: bytes) -> bytes:
    """Build a chunk with its length and checksum."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
