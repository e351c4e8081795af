"""Images from untrusted sources: read and decoded within limits on size, memory and time."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from train_embedding.embeddings.regular_files import read_regular_file
from train_embedding.errors import UnreadableFile
from train_embedding.images import kinds
from train_embedding.images.decoder import check_image, decode_image
from train_embedding.images.errors import NotDecoded, TooCostly, TooManyPixels
from train_embedding.images.limits import PREVIEW, PREVIEW_BYTES
from train_embedding.messages import joined, msg

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp", "GIF": ".gif"}

_NOT_READ = msg("The image cannot be read.")
_USABLE = msg("Use an image in one of these formats: {formats}.", formats=joined(SUFFIXES))


def read_preview(file: Path) -> bytes:
    """Read an image file without decoding it.

    Raises:
        UnreadableFile: It is larger than PREVIEW_BYTES.
        OSError: It cannot be read.
    """
    data = read_regular_file(file, PREVIEW_BYTES)
    _check_size(data)
    return data


def decode_preview(data: bytes, side: int = 0) -> Image.Image:
    """Decode an image in a separate process; for an animation, its first frame.

    Args:
        data: The content of the file.
        side: Length in pixels that the longest side is reduced to; 0 for the full size.

    Raises:
        UnreadableFile: Its type is not one of SUFFIXES, it is damaged, or it needs too much memory or time.
    """
    with _translated_errors(data) as kind:
        return decode_image(data, kind, PREVIEW[kind], side=side)


def check_preview(data: bytes) -> str:
    """Check that an image can be decoded completely.

    Returns:
        The suffix for a file of its type.

    Raises:
        UnreadableFile: As `decode_preview`.
    """
    with _translated_errors(data) as kind:
        check_image(data, kind, PREVIEW[kind])
    return SUFFIXES[kind]


@contextmanager
def _translated_errors(data: bytes) -> Generator[str, None, None]:
    """Yield the kind of the image; errors of decoding it become UnreadableFile."""
    _check_size(data)
    kind = kinds.kind_of(data[: kinds.HEAD])
    if kind not in SUFFIXES:
        raise UnreadableFile(_NOT_READ, _USABLE)
    try:
        yield kind
    except TooManyPixels as error:
        width, height = error.size
        message = msg(
            "The image has {width} × {height} pixels; a {kind} preview may have at most {limit:.1f} million.",
            width=width,
            height=height,
            kind=kind,
            limit=PREVIEW[kind].max_pixels / 1e6,
        )
        raise UnreadableFile(message) from error
    except TooCostly as error:
        raise UnreadableFile(msg("The image cannot be read: {reason}.", reason=error.reason), _USABLE) from error
    except NotDecoded as error:
        raise UnreadableFile(_NOT_READ, _USABLE) from error


def _check_size(data: bytes) -> None:
    if len(data) > PREVIEW_BYTES:
        raise UnreadableFile(msg("The image is larger than {limit} MB.", limit=PREVIEW_BYTES // 2**20))
