"""Widths tell encoders and families."""

from __future__ import annotations

import pytest

from train_embedding.embeddings.text_encoders import does_not_fit, family_of, key_for_width, model_of


@pytest.mark.parametrize(("width", "key"), [(768, "clip_l"), (1024, "clip_h"), (1280, "clip_g"), (128, "clip_l")])
def test_key_for_width(width: int, key: str) -> None:
    assert key_for_width(width) == key


@pytest.mark.parametrize(
    ("widths", "family"),
    [
        ({"clip_l": 768}, "SD1"),
        ({"clip_h": 1024}, "SD2"),
        ({"clip_g": 1280, "clip_l": 768}, "SDXL"),
        ({"clip_g": 1280}, "custom"),
        ({"clip_l": 128}, "custom"),
        ({}, "custom"),
    ],
)
def test_family_of(widths: dict[str, int], family: str) -> None:
    assert family_of(widths) == family


def test_model_of() -> None:
    assert model_of({"clip_l": 768, "clip_g": 1280}) == "SDXL"
    assert model_of({"clip_l": 64, "clip_g": 80}) == "a model of width 64 + 80"


def test_does_not_fit() -> None:
    assert does_not_fit("my-cat", {"clip_l": 768}, {"clip_h": 1024}) == '"my-cat" is for SD1; the loaded checkpoint is SD2.'
    half = does_not_fit("my-cat", {"clip_g": 1280}, {"clip_l": 64}, half_of_sdxl=True)
    assert half == '"my-cat" is for one of SDXL\'s two text encoders; the loaded checkpoint is a model of width 64.'
