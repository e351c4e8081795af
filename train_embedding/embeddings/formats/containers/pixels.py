"""Images with values in their pixels: the WebUI's format, which survives websites that remove metadata.

The values are JSON, compressed with zlib. The low half of each byte is in the lowest four bits of a block at the left of the
image, the high half in a block at the right; columns whose lowest four bits are zero separate the blocks from the rest. Both
halves are XORed with a fixed pseudo-random sequence. The upper four bits of the pixels have no meaning: the WebUI draws a
pattern with them, and this module continues the image.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import torch

from train_embedding.embeddings.format_names import FormatName
from train_embedding.embeddings.formats.containers import images, json_text
from train_embedding.embeddings.formats.content import MAX_FILE_SIZE, Content, unreadable
from train_embedding.embeddings.regular_files import read_regular_file
from train_embedding.errors import UnreadableFile
from train_embedding.messages import msg

SUFFIXES: tuple[str, ...] = (".png", ".webp", ".avif", ".jxl")
FORMAT: FormatName = "image"

_LOW = 0x0F
"The bits with values."
_MULTIPLIER, _INCREMENT, _MODULUS = 1664525, 1013904223, 2**32 - 1
"Of the sequence: a 32-bit linear congruential generator (Numerical Recipes), whose numbers are taken modulo 255."
_BLOCK = 2**16
"Numbers of the sequence that are computed at a time."
_TOP_ROWS = 16
"Rows of a PNG file that are enough to rule out most images."


def sniff(data: bytes) -> bool:
    """Return whether this is a kind of image that can have values in its pixels."""
    return bool(images.kind_of(data))


def read(data: bytes, file: str) -> Content:
    """Read the values in the pixels.

    Raises:
        UnreadableFile: The image is damaged, or has no values in its pixels.
    """
    packed = _hidden_bytes(images.pixels(data, file))
    if packed is None:
        raise unreadable(file, images.NO_EMBEDDING)
    inflate = zlib.decompressobj()
    try:
        text = inflate.decompress(packed, json_text.MAX_JSON)
    except zlib.error as error:
        raise unreadable(file, msg("contains damaged data, or no embedding.")) from error
    if not inflate.eof:
        raise unreadable(file, msg("contains damaged data, or more than {limit} MB.", limit=json_text.MAX_JSON // 2**20))
    values = json_text.decode(text, file)
    return Content(values, values, FORMAT)


def write(content: Content, suffix: str) -> bytes:
    """Draw a card with the values in its pixels.

    Raises:
        InvalidInput: The installed Pillow cannot write this kind of image.
    """
    packed = pack(content)
    return images.encode(within(images.draw(content.values, least_pixels(packed)), packed), suffix)


def with_new_name(data: bytes, file: str, name: str, suffix: str) -> bytes | None:
    """Change the name of the embedding in an image's pixels, and nothing else that can be seen.

    Returns:
        The new image, without texts; None if there are no values in the pixels.

    Raises:
        UnreadableFile: The image or its values are damaged.
    """
    colours = images.pixels(data, file)
    if _halves(colours) is None:
        return None
    packed = pack(Content({**read(data, file).values, "name": name}))
    return images.encode(within(colours, packed), suffix)


def pack(content: Content) -> bytes:
    """Return the values as they are put into pixels."""
    return zlib.compress(json_text.encode(content.values), 9)


def least_pixels(packed: bytes) -> int:
    """Return the number of pixels that an image needs so that the two blocks cover at most two fifths of it."""
    return 2 * len(packed)


def within(image: torch.Tensor, packed: bytes) -> torch.Tensor:
    """Put bytes into the columns at the left and the right of an image, where each colour changes by at most 15 of 255.

    Args:
        image: uint8 [height, width, 3]. One that is too narrow is extended at both sides.
        packed: The bytes.
    """
    height = len(image)
    columns = len(packed) // (3 * height) + 1
    if missing := max(0, 2 * columns + 3 - image.shape[1]):
        side = -(-missing // 2)
        image = torch.cat((image[:, :1].expand(-1, side, -1), image, image[:, -1:].expand(-1, side, -1)), dim=1)
    padded = torch.zeros(columns * 3 * height, dtype=torch.uint8)
    padded[: len(packed)] = torch.frombuffer(bytearray(packed), dtype=torch.uint8)
    low, high = ((half ^ _sequence(len(half))).reshape(height, columns, 3) for half in (padded & _LOW, padded >> 4))
    zero = torch.zeros(height, 1, 3, dtype=torch.uint8)
    left, right = torch.cat((low, zero), dim=1), torch.cat((zero, high), dim=1)
    edge = columns + 1
    return torch.cat(
        (_with_low_bits(image[:, :edge], left), image[:, edge:-edge], _with_low_bits(image[:, -edge:], right)), dim=1
    )


def _with_low_bits(colours: torch.Tensor, low: torch.Tensor) -> torch.Tensor:
    """Return the nearest colours with the given lowest four bits, none of which is black: black borders are cropped off."""
    steps = ((colours.short() - low.short() + 8) // 16).clamp(1, 15)
    return (steps * 16 + low.short()).to(torch.uint8)


def contains_values(path: Path) -> bool:
    """Return whether an image has values in its pixels; most PNG files without them are not decoded completely."""
    try:
        top = images.top(path, _TOP_ROWS)
        if top is not None and len(_gaps(top)) < 2:
            return False
        data = read_regular_file(path, MAX_FILE_SIZE)
        return sniff(data) and _halves(images.pixels(data, path.name)) is not None
    except (UnreadableFile, OSError):
        return False


def _hidden_bytes(colours: torch.Tensor) -> bytes | None:
    """Return the compressed values with padding after them; None if there are none."""
    halves = _halves(colours)
    return None if halves is None else _join(*halves)


def _halves(colours: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Return the blocks with the low and the high halves, flattened; None if their data does not begin with a zlib header."""
    red, green, blue = colours.unbind(2)
    visible = (red > 0) & (green > 0) & (blue > 0)
    rows, columns = visible.any(1).nonzero().flatten(), visible.any(0).nonzero().flatten()
    if not len(rows):
        return None
    inner = colours[int(rows[0]) : int(rows[-1]) + 1, int(columns[0]) : int(columns[-1]) + 1]
    gaps = _gaps(inner)
    if len(gaps) < 2:
        return None
    low, high = inner[:, : int(gaps[0])], inner[:, int(gaps[-1]) + 1 :]
    if low.shape != high.shape or not low.numel():
        return None
    low, high = low.flatten(), high.flatten()
    # zlib's header (RFC 1950): the compression method in the first byte, and a checksum of both.
    first = _join(low[:2], high[:2])
    return (low, high) if first[0] & 0x0F == 8 and int.from_bytes(first, "big") % 31 == 0 else None


def _join(low: torch.Tensor, high: torch.Tensor) -> bytes:
    """Join low and high halves to bytes, undoing the XOR with the sequence."""
    sequence = _sequence(len(low))
    lower, upper = ((half & _LOW) ^ sequence for half in (low, high))
    return (upper << 4 | lower).numpy().tobytes()


def _gaps(colours: torch.Tensor) -> torch.Tensor:
    """Return the indices of the columns whose lowest four bits are zero in every pixel."""
    red, green, blue = colours.unbind(2)
    return (((red | green | blue) & _LOW).amax(0) == 0).nonzero().flatten()


def _sequence(count: int) -> torch.Tensor:
    """Return the lowest four bits of the first numbers of the sequence, uint8 [count]."""
    made = torch.empty(count, dtype=torch.uint8)
    # int64 arithmetic wraps modulo 2**64, so the results are still correct modulo 2**32.
    powers = torch.cumprod(torch.full((min(count, _BLOCK),), _MULTIPLIER), 0)
    sums = torch.cumsum(torch.cat((torch.ones(1, dtype=torch.int64), powers[:-1])), 0)
    state = 0
    for start in range(0, count, _BLOCK):
        states = (powers * state + sums * _INCREMENT) & _MODULUS
        made[start : start + _BLOCK] = (states % 255 & _LOW)[: count - start]
        state = int(states[-1])
    return made
