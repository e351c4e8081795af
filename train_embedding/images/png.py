"""Images as the bytes of a PNG file."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image


def encode_png(image: Image.Image) -> bytes:
    """Encode an image as a PNG file.

    Args:
        image: In a mode that PNG has, such as RGB, RGBA or L.

    Returns:
        The bytes of the file, with what Pillow takes over from `image.info`.
    """
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
