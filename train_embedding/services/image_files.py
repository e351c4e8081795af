"""Pictures as files and as bytes."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from train_embedding.errors import InvalidInput, StorageFailed

if TYPE_CHECKING:
    from PIL import Image


def png(picture: Image.Image) -> bytes:
    packed = io.BytesIO()
    picture.save(packed, "PNG")
    return packed.getvalue()


def save_picture(picture: Image.Image, file: Path) -> None:
    """Writes a picture in the format that the file's name asks for. Raises InvalidInput for none such, StorageFailed."""
    try:
        picture.save(file)
    except ValueError as error:
        raise InvalidInput(f'"{file.name}" names no format of pictures.', "Call it .png.") from error
    except OSError as error:
        raise StorageFailed(f'"{file}" could not be written: {error.strerror or error}.') from error
