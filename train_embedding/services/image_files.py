"""Saving an image to a file of the user's choice."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from train_embedding.embeddings.storage import storage_failed
from train_embedding.errors import InvalidInput
from train_embedding.messages import msg

if TYPE_CHECKING:
    from PIL import Image


def save_image(image: Image.Image, file: Path) -> None:
    """Write an image to a file, whose suffix determines the format.

    Raises:
        InvalidInput: The suffix is not that of an image format.
        StorageFailed: The file cannot be written.
    """
    try:
        image.save(file)
    except ValueError as error:
        raise InvalidInput(
            msg('"{name}" does not have the suffix of an image format.', name=file.name), msg("Use a name that ends with .png.")
        ) from error
    except OSError as error:
        raise storage_failed(file, error) from error
