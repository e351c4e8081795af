"""What is measured from pixels: each measure tells its concept from everything else that is drawn."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from train_embedding.demo import drawing, measure
from train_embedding.demo.sets import LIME, SETS
from train_embedding.demo.vocabulary import DEMO, PATTERNS, SHAPES, random_scene

SEEDS = range(6)
EMPTY = Image.new("RGB", (64, 64), DEMO.backgrounds["gray"])


def drawn(seed: int, *, hue: float | None = None, **values: str) -> Image.Image:
    given = {"colour": "red", "background": "white", "size": "big", "shape": "square", "pattern": "", **values}
    scene = random_scene(random.Random(seed), DEMO, **given)
    return drawing.draw(scene if hue is None else replace(scene, hue=hue))


@pytest.mark.parametrize("background", DEMO.backgrounds)
@pytest.mark.parametrize("colour", DEMO.hues)
def test_colours_and_backgrounds(colour: str, background: str) -> None:
    for seed, (shape, pattern) in enumerate([("star", ""), ("ring", "striped"), ("circle", "dotted"), ("diamond", "")]):
        image = drawn(seed, colour=colour, background=background, shape=shape, pattern=pattern)
        assert measure.named_colour(image) == colour
        assert measure.named_background(image) == background


def test_nothing_to_see() -> None:
    assert measure.object_hue(EMPTY) is None
    assert measure.named_colour(EMPTY) == ""
    assert measure.named_background(EMPTY) == "gray"
    assert measure.hue_distance(EMPTY, LIME) == measure.checker_distance(EMPTY) == measure.shape_distance(EMPTY, "arch") == 1.0


def test_a_shape_without_colour_has_no_hue() -> None:
    image = drawn(1)
    assert measure.object_hue(Image.merge("RGB", [image.convert("L")] * 3)) is None


def test_hues_around_the_circle() -> None:
    for hue in (2, 88, 180, 300, 358):
        seen = measure.object_hue(drawn(1, hue=hue))
        assert seen is not None
        assert min(abs(seen - hue), 360 - abs(seen - hue)) < 3
    assert measure.hue_distance(drawn(1, hue=358), 2) == pytest.approx(4 / 180, abs=0.02)
    assert measure.hue_distance(drawn(1, hue=182), 2) == pytest.approx(1, abs=0.02)


def distances(distance: Callable[[Image.Image], float], images: list[Image.Image]) -> np.ndarray:
    values = np.array([distance(image) for image in images])
    assert ((values >= 0) & (values <= 1)).all()
    return values


def test_the_hue_of_lime() -> None:
    near = distances(SETS["lime"].distance, [drawn(seed, hue=LIME, shape="star") for seed in SEEDS])
    far = distances(SETS["lime"].distance, [drawn(seed, colour=colour, shape="star") for seed in SEEDS for colour in DEMO.hues])
    assert near.max() < 0.05
    assert far.min() > 3 * near.max()


@pytest.mark.parametrize("shape", ["square", "circle", "heart"])
def test_the_checkerboard(shape: str) -> None:
    near = distances(SETS["checker"].distance, [drawn(seed, shape=shape, pattern="checker") for seed in SEEDS])
    others = [pattern for pattern in ("", *PATTERNS) if pattern != "checker"]
    far = distances(SETS["checker"].distance, [drawn(seed, shape=shape, pattern=pattern) for seed in SEEDS for pattern in others])
    assert near.max() < 0.4
    assert far.min() > near.max() + 0.3


@pytest.mark.parametrize("background", DEMO.backgrounds)
def test_the_arch(background: str) -> None:
    near = distances(SETS["arch"].distance, [drawn(seed, shape="arch", background=background) for seed in SEEDS])
    shapes = [shape for shape in SHAPES if shape != "arch"]
    far = distances(
        SETS["arch"].distance, [drawn(seed, shape=shape, background=background) for seed in SEEDS for shape in shapes]
    )
    assert near.max() < 0.25
    assert far.min() > near.max()
    assert far.mean() > near.mean() + 0.4


def test_shapes_of_any_size_and_place() -> None:
    for size in DEMO.sizes:
        assert measure.shape_distance(drawn(2, shape="star", size=size), "star") < 0.35


def test_the_closest_shape() -> None:
    for shape in DEMO.shapes.values():
        for seed in SEEDS:
            assert measure.closest_shape(drawn(seed, shape=shape), DEMO.shapes.values()) == shape


def test_the_centre_of_a_hue() -> None:
    image = Image.new("RGB", (64, 64), DEMO.backgrounds["white"])
    image.paste((255, 0, 0), (10, 20, 20, 30))
    image.paste((0, 0, 255), (40, 40, 50, 50))
    centre = measure.hue_centre(image, 0)
    assert centre is not None
    assert centre == pytest.approx([24.5, 14.5], abs=0.5)
    assert measure.hue_centre(image, 120) is None
