"""Remove metadata from images before they are decoded.

Pillow joins the pieces of a GIF comment or a JPEG's Exif data in quadratic time, so the decoder gets only the pixels.
"""

from __future__ import annotations

from collections.abc import Callable

from train_embedding.images.errors import NotDecoded, TooCostly
from train_embedding.images.png import NotPNG, strip_png
from train_embedding.messages import msg

_MAX_SCANS = 32
"Of a progressive JPEG: encoders write 10, or 18 for CMYK. At 16 million pixels, each takes 16 ms to decode and only 33 bytes."
_MAX_SEGMENTS = 10_000
"Blocks of a GIF or segments of a JPEG before the pixels."


def strip_metadata(data: bytes, kind: str) -> bytes:
    """Remove texts, profiles and animation from an image, so that its decoder does not read them.

    Args:
        data: The file.
        kind: A key of `kinds.KINDS`. Only PNG, JPEG and GIF files are changed.

    Raises:
        TooCostly: It would take too long to decode.
        NotDecoded: It is damaged, or an uncommon kind of JPEG.
    """
    strip = _STRIP.get(kind)
    if strip is None:
        return data
    try:
        return strip(data)
    except NotPNG as error:
        raise NotDecoded(error.reason) from error
    except IndexError as error:
        raise NotDecoded(msg("it is cut short")) from error


def _strip_jpeg(data: bytes) -> bytes:
    """Keep only the first image, without the data that phones append, and the two application segments about colours."""
    parts, at = [data[:2]], 2
    for _ in range(_MAX_SEGMENTS):
        at = data.find(b"\xff", at)
        if at < 0:
            raise NotDecoded(msg("it has no pixels"))
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker in (0x00, 0xFF):  # padding
            at += 1
            continue
        if marker == 0xDA:  # the pixels, in which 0xFF is followed by 0x00
            end = data.find(b"\xff\xd9", at)
            pixels = data[at : len(data) if end < 0 else end + 2]
            if (scans := pixels.count(b"\xff\xda")) > _MAX_SCANS:
                raise TooCostly(msg("it has {count} scans; at most {limit} are allowed", count=scans, limit=_MAX_SCANS))
            return b"".join([*parts, pixels])
        if 0xC3 <= marker <= 0xCF and marker != 0xC4:  # lossless, hierarchical, or arithmetic coding
            raise NotDecoded(msg("it is an uncommon kind of JPEG"))
        if marker in (0xE0, 0xEE) or not (0xE0 <= marker <= 0xEF or marker == 0xFE):
            parts.append(data[at : at + 2 + length])
        at += 2 + length
    raise NotDecoded(msg("it consists of too many pieces"))


def _strip_gif(data: bytes) -> bytes:
    """Remove the blocks between the palette and the first frame."""
    start = at = 13 + _palette_size(data[10])
    for _ in range(_MAX_SEGMENTS):
        if data[at] == 0x2C:
            return data[:start] + data[at:]
        if data[at] != 0x21:
            raise NotDecoded(msg("it is damaged before the first frame"))
        at += 2
        while length := data[at]:
            at += 1 + length
        at += 1
    raise NotDecoded(msg("it consists of too many pieces"))


def _palette_size(flags: int) -> int:
    """Return the bytes of a GIF's global palette, by the flags in its header."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


_STRIP: dict[str, Callable[[bytes], bytes]] = {"PNG": strip_png, "JPEG": _strip_jpeg, "GIF": _strip_gif}
