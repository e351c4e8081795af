"""Measurements of an image's pixels: colours, background, pattern and shape."""

# torch and numpy annotate these only partly:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import colorsys
import math
from collections.abc import Iterable
from dataclasses import replace
from functools import cache

import numpy as np
from PIL import Image

from train_embedding.demo import drawing, vocabulary

_OBJECT_DISTANCE = 55.0
"RGB distance from the background above which a pixel belongs to the shape."
_ANGLES = (-8.0, -4.0, 0.0, 4.0, 8.0)
"Rotations in degrees in which a shape is compared."
_COLOURED = 0.3
"Smallest saturation × value of a pixel whose hue is used."


def background_colour(image: Image.Image) -> np.ndarray:
    """Return the median of the outermost pixels, float [3] in 0…255."""
    pixels = np.asarray(image.convert("RGB"), dtype=np.float64)
    edge = np.concatenate(
        [pixels[:2].reshape(-1, 3), pixels[-2:].reshape(-1, 3), pixels[:, :2].reshape(-1, 3), pixels[:, -2:].reshape(-1, 3)]
    )
    return np.median(edge, axis=0)


def named_background(image: Image.Image, words: vocabulary.Vocabulary = vocabulary.DEMO) -> str:
    """Return the name of the background with the closest colour."""
    colour = background_colour(image)
    return min(words.backgrounds, key=lambda name: float(np.linalg.norm(colour - np.array(words.backgrounds[name]))))


def object_mask(image: Image.Image) -> np.ndarray:
    """Return which pixels differ from the background, bool [H, W]."""
    pixels = np.asarray(image.convert("RGB"), dtype=np.float64)
    return np.linalg.norm(pixels - background_colour(image), axis=2) > _OBJECT_DISTANCE


def object_hsv(image: Image.Image) -> np.ndarray | None:
    """Return hue (degrees), saturation and value of the shape's coloured pixels, [N, 3]; None if there are fewer than 12."""
    pixels = np.asarray(image.convert("RGB"), dtype=np.float64)[object_mask(image)] / 255
    hsv = np.array([colorsys.rgb_to_hsv(*pixel) for pixel in pixels]).reshape(-1, 3)
    coloured = hsv[hsv[:, 1] * hsv[:, 2] > _COLOURED]
    return coloured * (360, 1, 1) if len(coloured) >= 12 else None


def object_hue(image: Image.Image) -> float | None:
    """Return the circular mean of the hues, weighted by chroma, in degrees; None if there is no shape."""
    hsv = object_hsv(image)
    if hsv is None:
        return None
    angles, weights = np.deg2rad(hsv[:, 0]), hsv[:, 1] * hsv[:, 2]
    return math.degrees(math.atan2((np.sin(angles) * weights).sum(), (np.cos(angles) * weights).sum())) % 360


def named_colour(image: Image.Image, words: vocabulary.Vocabulary = vocabulary.DEMO) -> str:
    """Return the name of the colour with the closest hue; "" if there is no shape."""
    hue = object_hue(image)
    if hue is None:
        return ""
    return min(words.hues, key=lambda name: _circular(hue, words.hues[name]))


def hue_distance(image: Image.Image, hue: float) -> float:
    """Return the angle between the shape's hue and `hue` as a fraction of 180°; 1 if there is no shape."""
    seen = object_hue(image)
    return 1.0 if seen is None else _circular(seen, hue) / 180


def hue_centre(image: Image.Image, hue: float) -> np.ndarray | None:
    """Return the mean place (down, across) of the shape's pixels within 20° of a hue; None if there are fewer than 12."""
    pixels = np.asarray(image.convert("HSV"), dtype=np.float64)  # hue in 1/256 of a turn
    difference = np.abs(pixels[..., 0] * 360 / 256 - hue) % 360
    near = (
        object_mask(image)
        & (np.minimum(difference, 360 - difference) < 20)
        & (pixels[..., 1] * pixels[..., 2] > _COLOURED * 255**2)
    )
    return np.argwhere(near).mean(axis=0) if near.sum() >= 12 else None


def checker_distance(image: Image.Image) -> float:
    """Return 1 − how well light and dark inside the shape alternate in both directions; the best of cells of 6 to 9 pixels.

    With b = ±1 for pixels lighter or darker than the shape's middle, and C(dx, dy) the mean of b(x, y) · b(x + dx, y + dy),
    agreement is (C(c, c) − C(c, 0) − C(0, c)) / 3: 1 for a checkerboard of cells c, 1/3 or less for stripes and flat colour.
    """
    found = light_and_dark(image)
    if found is None:
        return 1.0
    signs, mask = found
    best = max((_agreement(signs, mask, cell) for cell in (6, 7, 8, 9)), default=0.0)
    return 1 - max(0.0, best)


def light_and_dark(image: Image.Image) -> tuple[np.ndarray, np.ndarray] | None:
    """Return 1 for light and −1 for dark pixels, and which pixels belong to the shape, [H, W] each; None for a flat shape."""
    values, mask = np.asarray(image.convert("RGB"), dtype=np.float64).max(axis=2), object_mask(image)
    if mask.sum() < 100:
        return None
    low, high = np.percentile(values[mask], (10, 90))
    return (np.where(values > (low + high) / 2, 1.0, -1.0), mask) if high - low >= 40 else None


def shape_distance(image: Image.Image, shape: str) -> float:
    """Return 1 − overlap (intersection over union) of the silhouette with that of a shape, both scaled to the same box.

    The shape may be turned by up to 10°, as in the images that the checkpoint was trained on; the best angle counts.
    """
    silhouette = _boxed(object_mask(image))
    if silhouette is None:
        return 1.0
    return 1 - max(float((silhouette & each).sum() / (silhouette | each).sum()) for each in _templates(shape))


def closest_shape(image: Image.Image, shapes: Iterable[str]) -> str:
    """Return the shape with the best overlap."""
    return min(shapes, key=lambda shape: shape_distance(image, shape))


def _agreement(signs: np.ndarray, mask: np.ndarray, cell: int) -> float:
    across, down, both = (
        correlation(signs, mask, cell, 0),
        correlation(signs, mask, 0, cell),
        correlation(signs, mask, cell, cell),
    )
    return (both - across - down) / 3


def correlation(signs: np.ndarray, mask: np.ndarray, dx: int, dy: int) -> float:
    """Return the mean of signs(x, y) · signs(x + dx, y + dy) over the pixels of the mask; 0 if there are fewer than 20."""
    height, width = signs.shape
    here, there = (slice(0, height - dy), slice(0, width - dx)), (slice(dy, height), slice(dx, width))
    inside = mask[here] & mask[there]
    return float((signs[here] * signs[there])[inside].mean()) if inside.sum() >= 20 else 0.0


def _boxed(mask: np.ndarray) -> np.ndarray | None:
    """Return the mask cropped to its bounding box and scaled to 32 × 32; None if it is empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(rows) < 4 or len(columns) < 4:
        return None
    cut = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    image = Image.fromarray((cut * 255).astype(np.uint8)).resize((32, 32), Image.Resampling.BOX)
    return np.asarray(image) > 127


@cache
def _templates(shape: str) -> tuple[np.ndarray, ...]:
    scene = drawing.plain_scene(shape)
    boxed = [_boxed(np.asarray(drawing.draw_mask(replace(scene, rotation=angle))) > 127) for angle in _ANGLES]
    return tuple(each for each in boxed if each is not None)


def _circular(first: float, second: float) -> float:
    difference = abs(first - second) % 360
    return min(difference, 360 - difference)
