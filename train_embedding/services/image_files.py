"""Images that a person saves to a file of their own choice."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from train_embedding.errors import InvalidInput, StorageFailed

if TYPE_CHECKING:
    from PIL import Image


def save_image(image: Image.Image, file: Path) -> None:
    """Write an image to a file in the format that its suffix names.

    Raises:
        InvalidInput: The suffix names no image format.
        StorageFailed: The file cannot be written.
    """
    try:
        image.save(file)
    except ValueError as error:
        raise InvalidInput(f'"{file.name}" has no suffix of an image format.', "Use a name that ends with .png.") from error
    except OSError as error:
        raise StorageFailed(f'"{file}" could not be written: {error.strerror or error}.') from error
