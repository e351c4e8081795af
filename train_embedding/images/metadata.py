"""Images without their metadata.

Pillow joins the pieces of a GIF's comment and of a JPEG's Exif in time that grows with the square of their number, so a decoder
gets the pixels alone.
"""

from __future__ import annotations

from collections.abc import Callable

from train_embedding.images.errors import NotDecoded, TooCostly
from train_embedding.images.png import strip_png

_MAX_SCANS = 32
"Of a progressive JPEG: encoders use 10, or 18 for four colours. At 16 million pixels, each takes 16 ms and 33 bytes."
_MAX_SEGMENTS = 10_000
"Before the pixels: a GIF's blocks, a JPEG's segments."


def strip_metadata(data: bytes, kind: str) -> bytes:
    """Remove texts, profiles and animation from an image, as far as its decoder would read them.

    Args:
        data: The file.
        kind: One of `kinds.KINDS`. Only PNG, JPEG and GIF are changed.

    Raises:
        NotDecoded: It is damaged or uncommon, or (TooCostly) would take too long to decode.
    """
    strip = _STRIP.get(kind)
    if strip is None:
        return data
    try:
        return strip(data)
    except (ValueError, IndexError) as error:
        reason = str(error) if isinstance(error, ValueError) else "it is cut short"
        raise NotDecoded(reason) from error


def _strip_jpeg(data: bytes) -> bytes:
    """Also without what phones append. Of the application segments, two are kept: they say how colours are stored."""
    parts, at = [data[:2]], 2
    for _ in range(_MAX_SEGMENTS):
        at = data.find(b"\xff", at)
        if at < 0:
            raise ValueError("it has no pixels")
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker in (0x00, 0xFF):  # padding
            at += 1
            continue
        if marker == 0xDA:  # the pixels, in which other bytes 0xFF are followed by 0x00
            end = data.find(b"\xff\xd9", at)
            pixels = data[at : len(data) if end < 0 else end + 2]
            if (scans := pixels.count(b"\xff\xda")) > _MAX_SCANS:
                raise TooCostly(f"it is drawn in {scans} passes, of which at most {_MAX_SCANS} are allowed")
            return b"".join([*parts, pixels])
        if 0xC3 <= marker <= 0xCF and marker != 0xC4:  # lossless, hierarchical, or arithmetic coding
            raise ValueError("it is an uncommon kind of JPEG")
        if marker in (0xE0, 0xEE) or not (0xE0 <= marker <= 0xEF or marker == 0xFE):
            parts.append(data[at : at + 2 + length])
        at += 2 + length
    raise ValueError("it is cut into too many pieces")


def _strip_gif(data: bytes) -> bytes:
    """Without the blocks between the palette and the first frame."""
    start = at = 13 + _palette_size(data[10])
    for _ in range(_MAX_SEGMENTS):
        if data[at] == 0x2C:
            return data[:start] + data[at:]
        if data[at] != 0x21:
            raise ValueError("it is damaged before its first frame")
        at += 2
        while length := data[at]:
            at += 1 + length
        at += 1
    raise ValueError("it is cut into too many pieces")


def _palette_size(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


_STRIP: dict[str, Callable[[bytes], bytes]] = {"PNG": strip_png, "JPEG": _strip_jpeg, "GIF": _strip_gif}
