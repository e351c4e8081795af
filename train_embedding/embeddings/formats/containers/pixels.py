"""Images whose pixels carry the values: the WebUI's format, which survives sites that strip texts from files.

The values are JSON, compressed by zlib. The lower halves of its bytes stand in the lowest four bits of a block left of the
image, the upper halves in a block right of it, a column with nothing in those bits between. Both are xored with a fixed
sequence. What the upper four bits hold means nothing.
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

SUFFIXES: tuple[str, ...] = (".png", ".webp", ".avif", ".jxl")
FORMAT: FormatName = "image"

_LOW, _HIGH = 0x0F, 0x60
"The bits that carry values; what the others hold here, so that no pixel is black."
_MULTIPLIER, _INCREMENT, _MODULUS = 1664525, 1013904223, 2**32 - 1
"Of the sequence: a linear congruential generator in 32 bits (Numerical Recipes), each number modulo 255."
_STRETCH = 2**16
_TOP_ROWS = 16


def sniff(data: bytes) -> bool:
    """Whether this is an image of a kind that can carry values so."""
    return bool(images.kind_of(data))


def read(data: bytes, file: str) -> Content:
    """The values in the pixels. Raises UnreadableFile, also for an image that carries none."""
    packed = _carried(images.pixels(data, file))
    if packed is None:
        raise unreadable(file, images.CARRIES_NOTHING)
    inflate = zlib.decompressobj()
    try:
        text = inflate.decompress(packed, json_text.MAX_JSON)
    except zlib.error as error:
        raise unreadable(file, "carries something damaged, or no embedding.") from error
    if not inflate.eof:
        raise unreadable(file, f"carries something damaged, or more than {json_text.MAX_JSON // 2**20} MB.")
    values = json_text.decode(text, file)
    return Content(values, values, FORMAT)


def write(content: Content, suffix: str) -> bytes:
    """An image of the vectors between two blocks that carry the values. Raises InvalidInput where Pillow has no such kind."""
    packed = zlib.compress(json_text.encode(content.values), 9)
    return images.encode(around(images.drawn(content.values), packed), suffix)


def around(image: torch.Tensor, packed: bytes) -> torch.Tensor:
    """The image, uint8 [height, width, 3], between two blocks that carry the bytes."""
    height = len(image)
    columns = len(packed) // (3 * height) + 1
    padded = torch.zeros(columns * 3 * height, dtype=torch.uint8)
    padded[: len(packed)] = torch.frombuffer(bytearray(packed), dtype=torch.uint8)
    halves = (padded & _LOW, padded >> 4)
    low, high = ((half ^ _sequence(len(half)) | _HIGH).reshape(height, columns, 3) for half in halves)
    gap = torch.zeros(height, 1, 3, dtype=torch.uint8)
    return torch.cat((low, gap, image, gap, high), dim=1)


def carries_values(path: Path) -> bool:
    """Whether the pixels of a file carry values, without decoding all of a PNG file that does not. A broken file does not."""
    try:
        top = images.top(path, _TOP_ROWS)
        if top is not None and len(_gaps(top)) < 2:
            return False
        data = read_regular_file(path, MAX_FILE_SIZE)
        return sniff(data) and _halves(images.pixels(data, path.name)) is not None
    except (UnreadableFile, OSError):
        return False


def _carried(colours: torch.Tensor) -> bytes | None:
    """The compressed values, with some padding behind them; None where there are none."""
    halves = _halves(colours)
    return None if halves is None else _joined(*halves)


def _halves(colours: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor] | None:
    """The blocks of the lower and of the upper halves, flat; None where what they carry does not begin as zlib's output does."""
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
    # The header of what zlib compresses: the method in the first byte, a check over both.
    first = _joined(low[:2], high[:2])
    return (low, high) if first[0] & 0x0F == 8 and int.from_bytes(first, "big") % 31 == 0 else None


def _joined(low: torch.Tensor, high: torch.Tensor) -> bytes:
    """The bytes of which the two carry the halves, one after another from the beginning of the sequence."""
    sequence = _sequence(len(low))
    lower, upper = ((half & _LOW) ^ sequence for half in (low, high))
    return (upper << 4 | lower).numpy().tobytes()


def _gaps(colours: torch.Tensor) -> torch.Tensor:
    """The columns in which no pixel has any of the lowest four bits."""
    red, green, blue = colours.unbind(2)
    return (((red | green | blue) & _LOW).amax(0) == 0).nonzero().flatten()


def _sequence(count: int) -> torch.Tensor:
    """The lowest four bits of the sequence's first numbers, uint8 [count], a stretch at a time."""
    made = torch.empty(count, dtype=torch.uint8)
    # Products and sums wrap modulo 2**64, which leaves them right modulo 2**32.
    powers = torch.cumprod(torch.full((min(count, _STRETCH),), _MULTIPLIER), 0)
    sums = torch.cumsum(torch.cat((torch.ones(1, dtype=torch.int64), powers[:-1])), 0)
    state = 0
    for start in range(0, count, _STRETCH):
        states = (powers * state + sums * _INCREMENT) & _MODULUS
        made[start : start + _STRETCH] = (states % 255 & _LOW)[: count - start]
        state = int(states[-1])
    return made
