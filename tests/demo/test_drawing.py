"""The demo's world: drawn the same every time, and captioned with what is seen."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from train_embedding.demo import drawing, measure


def scene(seed: int = 1, **values: str) -> drawing.Scene:
    given = {"colour": "red", "background": "white", "size": "big", "shape": "square", "pattern": "", **values}
    return drawing.random_scene(random.Random(seed), **given)


def test_the_same_seed_draws_the_same_image() -> None:
    def images(seed: int) -> list[tuple[bytes, str]]:
        rng = random.Random(seed)
        captioned = [drawing.random_captioned_scene(rng) for _ in range(5)]
        return [(drawing.draw(scene).tobytes(), caption) for scene, caption in captioned]

    assert images(1) == images(1)
    assert images(1) != images(2)


def test_a_image() -> None:
    image = drawing.draw(scene())
    assert (image.size, image.mode) == ((64, 64), "RGB")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ({"colour": "red", "background": "navy", "size": "big", "shape": "star"}, "a big red star on a navy background"),
        ({"colour": "orange", "background": "gray"}, "an orange thing on a gray background"),
        (
            {"colour": "blue", "background": "white", "size": "small", "shape": "ring", "pattern": "striped"},
            "a small striped blue ring on a white background",
        ),
    ],
)
def test_captions(words: dict[str, str], text: str) -> None:
    assert drawing.caption(**words) == text


def test_captions_name_what_is_seen_and_nothing_that_has_no_name() -> None:
    rng = random.Random(3)
    for _ in range(300):
        drawn, caption = drawing.random_captioned_scene(rng)
        words = caption.split()
        unnamed = {*drawing.UNNAMED_SHAPES, *drawing.UNNAMED_PATTERNS, "lime"}
        assert not unnamed & set(words)
        assert ("thing" in words) == (drawn.shape in drawing.UNNAMED_SHAPES)
        assert ("patterned" in words) == (drawn.pattern in drawing.UNNAMED_PATTERNS)
        for shape in drawing.NAMED_SHAPES:
            assert (shape in words) == (drawn.shape == shape)
        for size in ("small", "big"):
            low, high = drawing.RADII[size]
            assert size not in words or low <= drawn.radius <= high
        colour = next(word for word in words if word in (*drawing.HUES, "colored"))
        if colour in drawing.HUES:
            distance = abs(drawn.hue - drawing.HUES[colour]) % 360
            assert min(distance, 360 - distance) <= 4


def test_shapes_stay_inside_the_image() -> None:
    for seed in range(40):
        for shape in (*drawing.NAMED_SHAPES, *drawing.UNNAMED_SHAPES):
            mask = np.asarray(drawing.draw_mask(scene(seed, shape=shape)))
            assert mask.max() == 255
            edge = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
            assert (edge > 127).mean() < 0.25


def test_the_mask_is_where_the_image_differs() -> None:
    for shape in (*drawing.NAMED_SHAPES, *drawing.UNNAMED_SHAPES):
        drawn = scene(shape=shape)
        seen = measure.object_mask(drawing.draw(drawn))
        assert (seen == (np.asarray(drawing.draw_mask(drawn)) > 127)).mean() > 0.97


@pytest.mark.parametrize("pattern", [*drawing.NAMED_PATTERNS[1:], *drawing.UNNAMED_PATTERNS])
def test_patterns_are_light_and_dark(pattern: str) -> None:
    drawn = scene(pattern=pattern)
    pixels = np.asarray(drawing.draw(drawn).convert("RGB")).max(axis=2)[np.asarray(drawing.draw_mask(drawn)) > 254]
    dark = (pixels < 150).mean()
    assert 0.1 < dark < 0.9
    plain = np.asarray(drawing.draw(replace(drawn, pattern="")).convert("RGB")).max(axis=2)
    assert (plain < 150).mean() < 0.02
