"""Images that people send, or put next to an embedding: read and decoded within limits on size, memory and time."""

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

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp", "GIF": ".gif"}

_USABLE = f"Use an image of one of the types {', '.join(suffix.removeprefix('.').upper() for suffix in SUFFIXES.values())}."


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
    """Decode an image, of an animation the first frame, in a process of its own.

    Args:
        data: The file.
        side: The longest side wanted, in pixels; 0 for the image as it is.

    Raises:
        UnreadableFile: Its type is not one of SUFFIXES, it is damaged, or takes more memory or time than it may.
    """
    with _translated_errors(data) as kind:
        return decode_image(data, kind, PREVIEW[kind], side=side)


def check_preview(data: bytes) -> str:
    """Decode an image completely to see that this works.

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
    """Give the kind of the image; what goes wrong while decoding it becomes UnreadableFile."""
    _check_size(data)
    kind = kinds.kind_of(data[: kinds.HEAD])
    if kind not in SUFFIXES:
        raise UnreadableFile("The image cannot be read.", _USABLE)
    try:
        yield kind
    except TooManyPixels as error:
        width, height = error.size
        limit = f"{PREVIEW[kind].max_pixels / 1e6:.1f} million"
        raise UnreadableFile(f"The image has {width} × {height} pixels; a preview in {kind} has at most {limit}.") from error
    except TooCostly as error:
        raise UnreadableFile(f"The image cannot be read: {error}.", _USABLE) from error
    except NotDecoded as error:
        raise UnreadableFile("The image cannot be read.", _USABLE) from error


def _check_size(data: bytes) -> None:
    if len(data) > PREVIEW_BYTES:
        raise UnreadableFile(f"The image is larger than {PREVIEW_BYTES // 2**20} MB.")
