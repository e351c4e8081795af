"""Distance of an image from the nearest true drawing of its prompt, found by drawing: `nearest_distance`."""

# torch and numpy annotate these only partly:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image

from train_embedding.demo import measure
from train_embedding.demo.drawing import SIZE, Scene, draw
from train_embedding.demo.vocabulary import Vocabulary

_ROUNDS = 4
"Each round halves the steps."


def nearest_distance(image: Image.Image, scene: Scene, radii: tuple[float, float], vocabulary: Vocabulary) -> float:
    """Return the RMS difference of the pixels from the nearest drawing that the prompt could mean, 0…1.

    Shape, style and hue are those of the scene, which has no pattern. Place, size, angle, brightness and the tint of the
    background may be any that the demo's drawings have. They are found by descent along one coordinate at a time, from the place
    of the image's shape.

    Args:
        image: A generated image.
        scene: A true drawing of its prompt.
        radii: Smallest and largest radius of the size that the prompt names.
        vocabulary: That of the checkpoint.
    """
    pixels = np.asarray(image.convert("RGB"), dtype=np.float64)
    background = _background(image, scene, vocabulary)
    placed = replace(scene, background=background, centre=_centre(image), rotation=0.0, radius=sum(radii) / 2)

    def distance(values: Sequence[float]) -> float:
        return float(np.sqrt(np.square(np.asarray(draw(_with(placed, values)), dtype=np.float64) - pixels).mean())) / 255

    low, high = _bounds(scene, radii)
    values = [*placed.centre, placed.radius, 0.0, scene.saturation, scene.value]
    steps = [3.0, 3.0, 2.0, 5.0, 0.06, 0.06]
    best = distance(values)
    for _ in range(_ROUNDS):
        for index in range(len(values)):
            for sign in (1, -1):
                tried = [*values]
                tried[index] = min(high[index], max(low[index], tried[index] + sign * steps[index]))
                if (found := distance(tried)) < best:
                    values, best = tried, found
                    break
        steps = [step / 2 for step in steps]
    return best


def _bounds(scene: Scene, radii: tuple[float, float]) -> tuple[list[float], list[float]]:
    pale = scene.saturation < 0.7
    saturation, value = ((0.42, 0.55), (0.95, 1.0)) if pale else ((0.86, 1.0), (0.85, 0.98))
    low = [0.0, 0.0, radii[0], -10.0, saturation[0], value[0]]
    high = [float(SIZE), float(SIZE), radii[1], 10.0, saturation[1], value[1]]
    return low, high


def _with(scene: Scene, values: Sequence[float]) -> Scene:
    x, y, radius, rotation, saturation, value = values
    return replace(scene, centre=(x, y), radius=radius, rotation=rotation, saturation=saturation, value=value)


def _background(image: Image.Image, scene: Scene, vocabulary: Vocabulary) -> tuple[int, int, int]:
    """Return the image's background, moved into the range that drawings of the prompt have."""
    named = min(vocabulary.backgrounds.values(), key=lambda colour: float(np.linalg.norm(np.subtract(colour, scene.background))))
    seen = measure.background_colour(image)
    red, green, blue = (round(min(want + 8, max(want - 8, have))) for want, have in zip(named, seen, strict=True))
    return red, green, blue


def _centre(image: Image.Image) -> tuple[float, float]:
    """Return the middle of the box around the image's shape; the middle of the image if it has none."""
    mask = measure.object_mask(image)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return SIZE / 2, SIZE / 2
    return float(columns[0] + columns[-1] + 1) / 2, float(rows[0] + rows[-1] + 1) / 2
