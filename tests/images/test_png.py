"""Images as PNG bytes: every pixel is kept."""

from __future__ import annotations

import io
import os

import pytest
from PIL import Image

from train_embedding.images.png import encode_png


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_every_pixel_is_kept(mode: str) -> None:
    image = Image.frombytes(mode, (9, 5), os.urandom(9 * 5 * len(mode)))
    with Image.open(io.BytesIO(encode_png(image)), formats=("PNG",)) as decoded:
        assert decoded.mode == mode
        assert decoded.tobytes() == image.tobytes()
