"""Images that people send or leave beside an embedding: decoded within bounds on memory and time, in a process of its own.

But for WebP, a decoder is given the pixels without texts and profiles: Pillow joins the pieces of a GIF's comment and of a JPEG's
Exif in time that grows with the square of their number.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from train_embedding.embeddings.regular_files import read_regular_file
from train_embedding.errors import UnreadableFile
from train_embedding.images import kinds
from train_embedding.images.decoder import Limits, NotDecoded, TooCostly, TooManyPixels, check_apart, decode_apart

if TYPE_CHECKING:
    from PIL import Image

MAX_SIZE = 16 * 2**20
"Bytes of a picture."
MAX_PIXELS = {"PNG": 16 * 2**20, "JPEG": 16 * 2**20, "GIF": 16 * 2**20, "WEBP": 12 * 2**20}
"""4096 × 4096, of WebP 4096 × 3072. Pillow takes up to 16 bytes a pixel for WebP, 12 for a progressive JPEG in CMYK, 8 for PNG;
with the file itself, that stays below 256 MB."""
SUFFIXES = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp", "GIF": ".gif"}

_USABLE = f"Use a picture of one of the kinds {', '.join(suffix.removeprefix('.').upper() for suffix in SUFFIXES.values())}."
_MAX_PASSES = 32
"Over a progressive JPEG: encoders use 10, or 18 for four colours. At 16 million pixels, each takes 16 ms and 33 bytes."
_MAX_PIECES = 10_000
"Before the pixels: a GIF's blocks, a JPEG's segments."


def kind_of(picture: bytes) -> str:
    """Pillow's name for the kind of picture, of SUFFIXES; nothing for others."""
    kind = kinds.kind_of(picture[: kinds.HEAD])
    return kind if kind in SUFFIXES else ""


def contents_of(file: Path) -> bytes:
    """Raises UnreadableFile for one that is larger than MAX_SIZE, and OSError."""
    data = read_regular_file(file, MAX_SIZE)
    _check_size(data)
    return data


def decode(picture: bytes, side: int = 0) -> Image.Image:
    """Decode an image, of an animation the first frame, in a process of its own.

    Args:
        picture: The file.
        side: The longest side wanted, in pixels; 0 for the image as it is.

    Raises:
        UnreadableFile: It is no image of SUFFIXES, is damaged, or takes more memory or time than it may.
    """
    with _refusing(picture) as (alone, kind):
        return decode_apart(alone, kind, Limits(MAX_PIXELS[kind]), side=side)


def check(picture: bytes) -> tuple[int, int]:
    """Decode an image to its end to see that this works; its width and height. Raises what `decode` raises."""
    with _refusing(picture) as (alone, kind):
        return check_apart(alone, kind, Limits(MAX_PIXELS[kind]))


@contextmanager
def _refusing(picture: bytes) -> Generator[tuple[bytes, str], None, None]:
    """The pixels alone, and their kind. What goes wrong in making or decoding them becomes UnreadableFile."""
    _check_size(picture)
    kind = kind_of(picture)
    try:
        yield _ALONE[kind](picture), kind
    except TooManyPixels as error:
        width, height = error.size
        most = f"{MAX_PIXELS[kind] / 1e6:.1f} million"
        raise UnreadableFile(f"The picture has {width} × {height} pixels; a preview in {kind} has at most {most}.") from error
    except TooCostly as error:
        raise UnreadableFile(f"The picture cannot be read: {error}.", _USABLE) from error
    except (NotDecoded, KeyError, ValueError, IndexError) as error:
        raise UnreadableFile("The picture cannot be read.", _USABLE) from error


def _check_size(picture: bytes) -> None:
    if len(picture) > MAX_SIZE:
        raise UnreadableFile(f"The picture is larger than {MAX_SIZE // 2**20} MB.")


def _png(picture: bytes) -> bytes:
    from train_embedding.embeddings.formats.containers import png_chunks

    try:
        return png_chunks.pixels_alone(picture)
    except png_chunks.NotPNG as error:
        raise ValueError(str(error)) from error


def _jpeg(picture: bytes) -> bytes:
    """Without texts and profiles, and what telephones put after its end; two markers tell how colours are stored."""
    parts, at = [picture[:2]], 2
    for _ in range(_MAX_PIECES):
        at = picture.index(b"\xff", at)
        marker, length = picture[at + 1], int.from_bytes(picture[at + 2 : at + 4], "big")
        if marker in (0x00, 0xFF):  # filling
            at += 1
            continue
        if marker == 0xDA:  # the pixels; in them, the other bytes 0xFF are followed by 0x00
            end = picture.find(b"\xff\xd9", at)
            pixels = picture[at : len(picture) if end < 0 else end + 2]
            if (passes := pixels.count(b"\xff\xda")) > _MAX_PASSES:
                raise UnreadableFile(f"The picture is to be drawn in {passes} passes; at most {_MAX_PASSES} are allowed.")
            return b"".join([*parts, pixels])
        if 0xC3 <= marker <= 0xCF and marker != 0xC4:  # lossless, in layers, or by arithmetic
            raise ValueError("an uncommon kind of JPEG")
        if marker in (0xE0, 0xEE) or not (0xE0 <= marker <= 0xEF or marker == 0xFE):
            parts.append(picture[at : at + 2 + length])
        at += 2 + length
    raise ValueError("cut into too many pieces")


def _gif(picture: bytes) -> bytes:
    """Without what stands between its palette and its first picture."""
    start = at = 13 + _palette(picture[10])
    for _ in range(_MAX_PIECES):
        if picture[at] == 0x2C:
            return picture[:start] + picture[at:]
        if picture[at] != 0x21:
            raise ValueError("neither a picture nor an extension")
        at += 2
        while length := picture[at]:
            at += 1 + length
        at += 1
    raise ValueError("cut into too many pieces")


def _palette(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


_ALONE: dict[str, Callable[[bytes], bytes]] = {"PNG": _png, "JPEG": _jpeg, "GIF": _gif, "WEBP": lambda picture: picture}
