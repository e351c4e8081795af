"""Images as pixels and back: decoded within bounds on their size, and drawn where an embedding needs one to travel in."""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch
from PIL import Image

from train_embedding.embeddings.formats.content import first_line, unreadable
from train_embedding.embeddings.regular_files import open_regular_file
from train_embedding.errors import InvalidInput
from train_embedding.images import kinds, png
from train_embedding.images.decoder import decode_colours
from train_embedding.images.errors import NotDecoded
from train_embedding.images.limits import EMBEDDING, EMBEDDING_SIDE

CARRIES_NOTHING = "is an image that carries no embedding."

_FORMATS = {".png": "PNG", ".webp": "WEBP", ".avif": "AVIF", ".jxl": "JXL"}
_LOSSLESS: dict[str, dict[str, object]] = {
    "PNG": {},
    "WEBP": {"lossless": True, "exact": True, "quality": 80, "method": 2},
    "JXL": {"lossless": True, "effort": 3},
}
_SIDE = 256


def kind_of(data: bytes) -> str:
    """Pillow's name for the kind of image that begins here, of those that can carry an embedding; else nothing."""
    kind = kinds.kind_of(data[: kinds.HEAD])
    return kind if kind in _FORMATS.values() else ""


def suffix_of(data: bytes) -> str:
    """The suffix for the kind of image that begins here; nothing where there is none."""
    return next((suffix for suffix, kind in _FORMATS.items() if kind == kind_of(data)), "")


def pixels(data: bytes, file: str) -> torch.Tensor:
    """The colours of an image, uint8 [height, width, 3]. Raises UnreadableFile."""
    checked, kind = check_header(data, file)
    try:
        (width, height), colours = decode_colours(checked, kind, EMBEDDING)
    except NotDecoded as error:
        raise unreadable(file, f"cannot be decoded as {kind}: {error}.") from error
    del checked  # of a large WebP file, a copy
    return _as_tensor(colours, width, height)


def check_header(data: bytes, file: str) -> tuple[bytes, str]:
    """Check what the header says before anything is decoded.

    Returns:
        What to decode: the file, or the lossless image of a WebP file; and its kind.

    Raises:
        UnreadableFile: It is too large or damaged, or cannot carry an embedding.
    """
    kind = kind_of(data)
    try:
        if kind == "PNG":
            _check_png(png.read_header(io.BytesIO(data)), file)
        elif kind == "WEBP":
            data = _lossless_webp(data, file)
    except png.NotPNG as error:
        raise unreadable(file, f"is damaged: {error}.") from error
    return data, kind


def top(path: Path, rows: int) -> torch.Tensor | None:
    """The first rows of a PNG file, read without the rest of it; None for another kind of image. Raises UnreadableFile."""
    try:
        with open_regular_file(path) as file:
            if file.read(8) != png.SIGNATURE:
                return None
            header = png.read_header(file)
            _check_png(header, path.name)
            alone = png.crop_top(file, rows)
        return None if alone is None else _decoded(alone)
    except (OSError, SyntaxError, ValueError) as error:
        raise unreadable(path.name, f"is damaged: {first_line(error)}") from error


def encode(colours: torch.Tensor, suffix: str) -> bytes:
    """A file that keeps every bit of the colours, uint8 [height, width, 3]. Raises InvalidInput where Pillow has no such kind."""
    kind = _FORMATS[suffix]
    plugin = kinds.KINDS[kind].plugin
    if not kinds.is_readable(kind) or kind not in Image.SAVE:
        package = f"{plugin.replace('_', '-')}-plugin" if plugin else "Pillow with that kind built in"
        raise InvalidInput(f'A "{suffix}" image cannot be written here.', f"It needs {package}.")
    height, width, _ = colours.shape
    image = Image.frombytes("RGB", (width, height), colours.contiguous().numpy().tobytes())
    packed = io.BytesIO()
    image.save(packed, kind, **_LOSSLESS[kind])
    return packed.getvalue()


def drawn(values: Mapping[str, object]) -> torch.Tensor:
    """An image of vectors, uint8 [256, 256, 3]: a band for each, dark for small numbers and bright for large ones."""
    held = values.get("string_to_param", values)
    tensors = [value for value in cast("Mapping[str, object]", held).values() if isinstance(value, torch.Tensor)]
    vectors = tensors[0].float().abs()
    shades = (vectors / vectors.max().clamp(min=1e-30) * 175 + 80).to(torch.uint8)  # never black
    rows = torch.arange(_SIDE) * len(shades) // _SIDE
    columns = torch.arange(_SIDE) * shades.shape[1] // _SIDE
    band = shades[rows][:, columns]  # [256, 256]
    return torch.stack((band, band.flip(1), band.flip(0)), dim=2)


def _check_png(header: png.Header, file: str) -> None:
    _check_size(header.width, header.height, file)
    if not header.in_colour:
        raise unreadable(file, CARRIES_NOTHING)


def _check_size(width: int, height: int, file: str) -> None:
    if max(width, height) > EMBEDDING_SIDE:
        raise unreadable(file, f"is an image of {width} × {height} pixels; at most {EMBEDDING_SIDE:,} are decoded on each side.")
    if width * height > (most := EMBEDDING.max_pixels) or not width * height:
        raise unreadable(file, f"is an image of {width} × {height} pixels; at most {most / 1e6:.1f} million are decoded.")


def _decoded(data: bytes) -> torch.Tensor:
    """Of a PNG file that was made here, of a few rows."""
    with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
        return _as_tensor(image.convert("RGB").tobytes(), image.width, image.height)


def _as_tensor(content: bytes, width: int, height: int) -> torch.Tensor:
    return torch.frombuffer(bytearray(content), dtype=torch.uint8).reshape(height, width, 3)


def _lossless_webp(data: bytes, file: str) -> bytes:
    """The lossless image in a WebP file, as a file of its own without animation and metadata."""
    position = 12
    while position + 8 <= len(data):
        kind, length = data[position : position + 4], int.from_bytes(data[position + 4 : position + 8], "little")
        content = data[position + 8 : position + 8 + length]
        if kind == b"VP8L":
            if len(content) < length or content[:1] != b"\x2f":
                raise unreadable(file, "is cut short.")
            size = int.from_bytes(content[1:5], "little")
            _check_size((size & 0x3FFF) + 1, (size >> 14 & 0x3FFF) + 1, file)
            padded = content + b"\0" * (length % 2)
            return b"RIFF" + struct.pack("<I", 12 + len(padded)) + b"WEBPVP8L" + struct.pack("<I", length) + padded
        position += 8 + length + length % 2
    raise unreadable(file, CARRIES_NOTHING)
