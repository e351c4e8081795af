"""Drawn scenes: shapes, patterns and styles."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from train_embedding.demo import drawing, measure
from train_embedding.demo.vocabulary import DEMO, PATTERNS, SHAPES, random_scene


def scene(seed: int = 1, **values: str) -> drawing.Scene:
    given = {"colour": "red", "background": "white", "size": "big", "shape": "square", "pattern": "", **values}
    return random_scene(random.Random(seed), DEMO, **given)


def test_an_image() -> None:
    image = drawing.draw(scene())
    assert (image.size, image.mode) == ((64, 64), "RGB")


def test_shapes_stay_inside_the_image() -> None:
    for seed in range(40):
        for shape in SHAPES:
            mask = np.asarray(drawing.draw_mask(scene(seed, shape=shape)))
            assert mask.max() == 255
            edge = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
            assert (edge > 127).mean() < 0.25


def test_the_mask_is_where_the_image_differs() -> None:
    for shape in SHAPES:
        drawn = scene(shape=shape)
        seen = measure.object_mask(drawing.draw(drawn))
        assert (seen == (np.asarray(drawing.draw_mask(drawn)) > 127)).mean() > 0.97


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_are_light_and_dark(pattern: str) -> None:
    drawn = scene(pattern=pattern)
    pixels = np.asarray(drawing.draw(drawn).convert("RGB")).max(axis=2)[np.asarray(drawing.draw_mask(drawn)) > 254]
    dark = (pixels < 150).mean()
    assert 0.1 < dark < 0.9
    plain = np.asarray(drawing.draw(replace(drawn, pattern="")).convert("RGB")).max(axis=2)
    assert (plain < 150).mean() < 0.02


def test_an_outline_is_hollow() -> None:
    drawn = scene(style="outlined")
    pixels, inside = np.asarray(drawing.draw(drawn)), np.asarray(drawing.draw_mask(drawn)) > 127
    shown = measure.object_mask(drawing.draw(drawn))
    assert 0.05 < (shown & inside).sum() / inside.sum() < 0.5
    assert (shown & ~inside).sum() < 0.05 * inside.sum()
    x, y = (round(place) for place in drawn.centre)
    assert tuple(pixels[y, x]) == drawn.background


def test_shading_darkens_downwards() -> None:
    drawn = scene(style="shaded")
    column = np.asarray(drawing.draw(drawn)).max(axis=2)[:, round(drawn.centre[0])]
    top, bottom = (round(drawn.centre[1] + side * 0.6 * drawn.radius) for side in (-1, 1))
    assert column[top] > 1.5 * column[bottom]


def test_a_glow_is_soft_and_a_shadow_lies_to_the_lower_right() -> None:
    plain, soft = (measure.object_mask(drawing.draw(scene(style=style))) for style in ("", "glow"))
    assert soft.sum() != plain.sum()
    values = np.asarray(drawing.draw(scene(style="glow")), dtype=int)
    steps = np.abs(np.diff(values, axis=1)).max()
    assert steps < np.abs(np.diff(np.asarray(drawing.draw(scene()), dtype=int), axis=1)).max() / 2
    shadowed, mask = np.asarray(drawing.draw(scene(style="shadow"))), np.asarray(drawing.draw_mask(scene())) > 127
    dark = (shadowed.max(axis=2) < 110) & ~mask
    assert dark.sum() > 40
    assert (np.argwhere(dark).mean(0) > np.argwhere(mask).mean(0)).all()
