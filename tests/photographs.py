"""Photographs that come with gradio, for what depends on how photographs look."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image


def photographs() -> list[Image.Image]:
    """Different photographs, about 512 pixels wide or smaller."""
    gradio = pytest.importorskip("gradio")
    root = Path(gradio.__file__).parent
    found: list[Image.Image] = []
    for name in ("cheetah1.jpg", "lion.jpg", "cheetah2.jpg", "tower.jpg", "groot.jpeg"):
        for folder in ("test_data", "media_assets/images"):
            if (root / folder / name).is_file():
                image = Image.open(root / folder / name).convert("RGB")
                image.thumbnail((512, 512))
                found.append(image)
                break
    assert len(found) >= 3
    return found
