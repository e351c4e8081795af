"""Decode images that may contain an embedding, within limits on their size, and draw images to store embeddings in."""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from pathlib import Path

import torch
from PIL import Image

from train_embedding.embeddings.card import caption_of, draw_card, draw_vectors, vectors_of
from train_embedding.embeddings.formats.content import reason_of, unreadable
from train_embedding.embeddings.regular_files import open_regular_file
from train_embedding.errors import InvalidInput
from train_embedding.images import kinds, png
from train_embedding.images.decoder import decode_colours
from train_embedding.images.errors import NotDecoded
from train_embedding.images.limits import EMBEDDING, EMBEDDING_SIDE
from train_embedding.messages import msg

NO_EMBEDDING = msg("is an image without an embedding.")

_FORMATS = {".png": "PNG", ".webp": "WEBP", ".avif": "AVIF", ".jxl": "JXL"}
_LOSSLESS: dict[str, dict[str, object]] = {
    "PNG": {},
    "WEBP": {"lossless": True, "exact": True, "quality": 80, "method": 2},
    "JXL": {"lossless": True, "effort": 3},
}


def kind_of(data: bytes) -> str:
    """Return Pillow's name for the kind of image, if it can contain an embedding; else an empty string."""
    kind = kinds.kind_of(data[: kinds.HEAD])
    return kind if kind in _FORMATS.values() else ""


def suffix_of(data: bytes) -> str:
    """Return the suffix for the kind of image, if it can contain an embedding; else an empty string."""
    return next((suffix for suffix, kind in _FORMATS.items() if kind == kind_of(data)), "")


def pixels(data: bytes, file: str) -> torch.Tensor:
    """Decode an image to RGB, uint8 [height, width, 3].

    Raises:
        UnreadableFile: It is too large or damaged.
    """
    checked, kind = check_header(data, file)
    try:
        (width, height), colours = decode_colours(checked, kind, EMBEDDING)
    except NotDecoded as error:
        raise unreadable(file, msg("cannot be decoded as {kind}: {reason}.", kind=kind, reason=error.reason)) from error
    del checked  # a copy, for WebP
    return _as_tensor(colours, width, height)


def check_header(data: bytes, file: str) -> tuple[bytes, str]:
    """Check the header of an image before it is decoded.

    Returns:
        The data to decode (the file, or the lossless image in a WebP file), and its kind.

    Raises:
        UnreadableFile: The image is too large or damaged, or cannot contain an embedding.
    """
    kind = kind_of(data)
    try:
        if kind == "PNG":
            _check_png(png.read_header(io.BytesIO(data)), file)
        elif kind == "WEBP":
            data = _lossless_webp(data, file)
    except png.NotPNG as error:
        raise unreadable(file, msg("is damaged: {reason}.", reason=error.reason)) from error
    return data, kind


def top(path: Path, rows: int) -> torch.Tensor | None:
    """Read only the first rows of a PNG file.

    Args:
        path: The image.
        rows: Number of rows.

    Returns:
        uint8 [rows, width, 3]; None for other kinds of images.

    Raises:
        UnreadableFile: The image is too large or damaged.
    """
    try:
        with open_regular_file(path) as file:
            if file.read(8) != png.SIGNATURE:
                return None
            header = png.read_header(file)
            _check_png(header, path.name)
            cropped = png.crop_top(file, rows)
        return None if cropped is None else _decode_cropped(cropped)
    except (OSError, SyntaxError, ValueError) as error:
        raise unreadable(path.name, msg("is damaged: {reason}.", reason=reason_of(error))) from error


def encode(colours: torch.Tensor, suffix: str) -> bytes:
    """Encode an RGB image, uint8 [height, width, 3], losslessly.

    Args:
        colours: The image.
        suffix: ".png", ".webp" or ".jxl".

    Raises:
        InvalidInput: The installed Pillow cannot write this kind.
    """
    kind = _FORMATS[suffix]
    plugin = kinds.KINDS[kind].plugin
    if not kinds.is_readable(kind) or kind not in Image.SAVE:
        hint = (
            msg("Install the Python package {package}.", package=f"{plugin.replace('_', '-')}-plugin")
            if plugin
            else msg("Install a version of Pillow that supports it.")
        )
        raise InvalidInput(msg('"{suffix}" images cannot be written here.', suffix=suffix), hint)
    height, width, _ = colours.shape
    image = Image.frombytes("RGB", (width, height), colours.contiguous().numpy().tobytes())
    packed = io.BytesIO()
    image.save(packed, kind, **_LOSSLESS[kind])
    return packed.getvalue()


def draw(values: Mapping[str, object], pixels: int = 0, picture: Image.Image | None = None) -> torch.Tensor:
    """Draw a card with the caption of an embedding.

    Args:
        values: The embedding, in the WebUI's layout.
        pixels: Number of pixels that it must have at least.
        picture: Fills the card; None for a gradient made of the vectors.

    Returns:
        uint8 [height, width, 3].
    """
    card = draw_card(picture or draw_vectors(vectors_of(values)), caption_of(values), pixels)
    return _as_tensor(card.tobytes(), card.width, card.height)


def _check_png(header: png.Header, file: str) -> None:
    _check_size(header.width, header.height, file)
    if not header.in_colour:
        raise unreadable(file, NO_EMBEDDING)


def _check_size(width: int, height: int, file: str) -> None:
    if max(width, height) > EMBEDDING_SIDE:
        reason = msg(
            "is an image of {width} × {height} pixels; at most {limit:,} per side are allowed.",
            width=width,
            height=height,
            limit=EMBEDDING_SIDE,
        )
        raise unreadable(file, reason)
    if width * height > EMBEDDING.max_pixels or not width * height:
        reason = msg(
            "is an image of {width} × {height} pixels; at most {limit:.1f} million are allowed.",
            width=width,
            height=height,
            limit=EMBEDDING.max_pixels / 1e6,
        )
        raise unreadable(file, reason)


def _decode_cropped(data: bytes) -> torch.Tensor:
    """Decode a PNG file of a few rows that `png.crop_top` made."""
    with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
        return _as_tensor(image.convert("RGB").tobytes(), image.width, image.height)


def _as_tensor(content: bytes, width: int, height: int) -> torch.Tensor:
    return torch.frombuffer(bytearray(content), dtype=torch.uint8).reshape(height, width, 3)


def _lossless_webp(data: bytes, file: str) -> bytes:
    """Extract the lossless image of a WebP file, without animation and metadata, as a WebP file."""
    position = 12
    while position + 8 <= len(data):
        kind, length = data[position : position + 4], int.from_bytes(data[position + 4 : position + 8], "little")
        content = data[position + 8 : position + 8 + length]
        if kind == b"VP8L":
            if len(content) < length or content[:1] != b"\x2f":
                raise unreadable(file, msg("is cut short."))
            size = int.from_bytes(content[1:5], "little")
            _check_size((size & 0x3FFF) + 1, (size >> 14 & 0x3FFF) + 1, file)
            padded = content + b"\0" * (length % 2)
            return b"RIFF" + struct.pack("<I", 12 + len(padded)) + b"WEBPVP8L" + struct.pack("<I", length) + padded
        position += 8 + length + length % 2
    raise unreadable(file, NO_EMBEDDING)
