"""The demo's images: captioned, 64×64 pixels, one shape on a plain background.

Captions name eight colours, eight shapes, three sizes, two patterns and six backgrounds. Some images show what no caption has a
word for: hues between the named ones, other patterns ("patterned") and other shapes ("thing"). The checkpoint can therefore
generate them, but no prompt describes them: a task for a textual-inversion embedding.
"""

from __future__ import annotations

import colorsys
import math
import random
from dataclasses import dataclass

from PIL import Image, ImageDraw

SIZE = 64
SUPERSAMPLE = 4

HUES = {"red": 0, "orange": 28, "yellow": 55, "green": 125, "cyan": 182, "blue": 225, "purple": 272, "pink": 325}
BACKGROUNDS = {
    "white": (244, 244, 244),
    "black": (14, 14, 14),
    "gray": (128, 128, 128),
    "navy": (14, 20, 84),
    "beige": (226, 206, 166),
    "brown": (88, 56, 30),
}
RADII = {"small": (13.5, 15.5), "": (18.0, 21.0), "big": (24.0, 27.5)}
NAMED_SHAPES = ("circle", "square", "triangle", "star", "diamond", "cross", "heart", "ring")
UNNAMED_SHAPES = ("arrow", "bolt", "arch", "house", "hourglass", "crescent", "tee", "blob")
NAMED_PATTERNS = ("", "striped", "dotted")
UNNAMED_PATTERNS = ("checker", "rings", "halves", "zigzag")

Point = tuple[float, float]


@dataclass(frozen=True)
class Scene:
    """The contents of an image; angles in degrees, lengths in pixels of the finished image."""

    shape: str
    hue: float
    saturation: float
    value: float
    pattern: str
    background: tuple[int, int, int]
    radius: float
    centre: Point
    rotation: float
    pattern_angle: float
    pattern_phase: Point
    outline: tuple[float, ...] = ()
    "Radii of a blob's outline, evenly spaced in angle; empty for every other shape."


def random_scene(rng: random.Random, *, colour: str, background: str, size: str, shape: str, pattern: str) -> Scene:
    """Make a scene with the named properties and random others. The colour "colored" stands for any hue."""
    hue = rng.uniform(0, 360) if colour == "colored" else HUES[colour] + rng.uniform(-4, 4)
    pink = colour == "pink"
    radius = rng.uniform(*RADII[size])
    room = SIZE / 2 - radius * 0.95
    outline = tuple(rng.uniform(0.45, 1.0) for _ in range(rng.choice((5, 6, 7, 8)))) if shape == "blob" else ()
    return Scene(
        shape=shape,
        hue=hue % 360,
        saturation=rng.uniform(0.42, 0.55) if pink else rng.uniform(0.86, 1.0),
        value=rng.uniform(0.95, 1.0) if pink else rng.uniform(0.85, 0.98),
        pattern=pattern,
        background=tuple(max(0, min(255, channel + rng.randint(-8, 8))) for channel in BACKGROUNDS[background]),  # type: ignore[arg-type]
        radius=radius,
        centre=(SIZE / 2 + rng.uniform(-room, room) * 0.7, SIZE / 2 + rng.uniform(-room, room) * 0.7),
        rotation=rng.uniform(-10, 10),
        pattern_angle=rng.uniform(-6, 6),
        pattern_phase=(rng.uniform(0, 1), rng.uniform(0, 1)),
        outline=outline,
    )


def random_captioned_scene(rng: random.Random) -> tuple[Scene, str]:
    """Make the scene of a training image, and its caption."""
    colour = "colored" if rng.random() < 0.15 else rng.choice(list(HUES))
    background = rng.choice(list(BACKGROUNDS))
    size = rng.choice(list(RADII))
    shape = rng.choice(UNNAMED_SHAPES) if rng.random() < 0.25 else rng.choice(NAMED_SHAPES)
    roll = rng.random()
    pattern = (
        "" if roll < 0.4 or size == "small" else rng.choice(NAMED_PATTERNS[1:]) if roll < 0.7 else rng.choice(UNNAMED_PATTERNS)
    )
    scene = random_scene(rng, colour=colour, background=background, size=size, shape=shape, pattern=pattern)
    said_size = "" if rng.random() < 0.25 else size
    return scene, caption(
        colour=colour, background=background, size=said_size, shape=shape_word(shape), pattern=pattern_word(pattern)
    )


def caption(*, colour: str, background: str, size: str = "", shape: str = "thing", pattern: str = "") -> str:
    """Return a caption, such as "a big striped red star on a navy background"."""
    words = " ".join(word for word in (size, pattern, colour, shape) if word)
    article = "an" if words[0] in "aeiou" else "a"
    return f"{article} {words} on a {background} background"


def shape_word(shape: str) -> str:
    """Return the word of captions for a shape."""
    return shape if shape in NAMED_SHAPES else "thing"


def pattern_word(pattern: str) -> str:
    """Return the word of captions for a pattern."""
    return pattern if pattern in NAMED_PATTERNS else "patterned"


def draw(scene: Scene) -> Image.Image:
    """Draw a scene as an RGB image, `SIZE` pixels square."""
    side = SIZE * SUPERSAMPLE
    image = Image.new("RGB", (side, side), scene.background)
    image.paste(_fill(scene), mask=_mask(scene))
    return image.reduce(SUPERSAMPLE)


def draw_mask(scene: Scene) -> Image.Image:
    """Draw the shape alone as an "L" image, 255 inside, `SIZE` pixels square."""
    return _mask(scene).reduce(SUPERSAMPLE)


def colour_of(scene: Scene) -> tuple[int, int, int]:
    """Return the RGB colour of a scene's shape."""
    red, green, blue = colorsys.hsv_to_rgb(scene.hue / 360, scene.saturation, scene.value)
    return round(red * 255), round(green * 255), round(blue * 255)


def plain_scene(shape: str) -> Scene:
    """Make a scene of a shape upright in the middle, red on white, the reference for shape overlap."""
    return Scene(shape, 0.0, 1.0, 1.0, "", BACKGROUNDS["white"], 24.0, (SIZE / 2, SIZE / 2), 0.0, 0.0, (0.0, 0.0))


def _mask(scene: Scene) -> Image.Image:
    side = SIZE * SUPERSAMPLE
    mask = Image.new("L", (side, side), 0)
    pen = ImageDraw.Draw(mask)
    solid, hole = _outline(scene)
    pen.polygon(_place(solid, scene), fill=255)
    if hole:
        pen.polygon(_place(hole, scene), fill=0)
    return mask


def _place(points: list[Point], scene: Scene) -> list[Point]:
    angle = math.radians(scene.rotation)
    cos, sin = math.cos(angle) * scene.radius, math.sin(angle) * scene.radius
    x0, y0 = scene.centre
    return [((x0 + x * cos - y * sin) * SUPERSAMPLE, (y0 + x * sin + y * cos) * SUPERSAMPLE) for x, y in points]


def _fill(scene: Scene) -> Image.Image:
    side = SIZE * SUPERSAMPLE
    bright = colour_of(scene)
    if not scene.pattern:
        return Image.new("RGB", (side, side), bright)
    dark = tuple(round(channel * 0.35) for channel in bright)
    tile = Image.new("RGB", (2 * side, 2 * side), bright)
    _draw_pattern(ImageDraw.Draw(tile), scene, dark, 2 * side)
    rotated = tile.rotate(scene.pattern_angle, resample=Image.Resampling.BILINEAR)
    left, top = (round(side - coordinate * SUPERSAMPLE) for coordinate in scene.centre)
    return rotated.crop((left, top, left + side, top + side))


def _draw_pattern(pen: ImageDraw.ImageDraw, scene: Scene, dark: tuple[int, ...], side: int) -> None:
    """Draw the dark parts of a pattern; the middle of the tile will be at the centre of the shape."""
    middle = side / 2
    unit = 7.0 * SUPERSAMPLE
    phase_x, phase_y = (middle + phase * 2 * unit for phase in scene.pattern_phase)
    count = int(side / unit) + 2
    steps = [index - count // 2 for index in range(count)]
    if scene.pattern == "striped":
        for step in steps[::2]:
            y = phase_y + step * unit
            pen.rectangle((0, y, side, y + unit), fill=dark)
    elif scene.pattern == "dotted":
        for row in steps:
            for column in steps:
                x, y = phase_x + (column + 0.5 * (row % 2)) * 1.7 * unit, phase_y + row * 1.5 * unit
                pen.ellipse((x - 0.5 * unit, y - 0.5 * unit, x + 0.5 * unit, y + 0.5 * unit), fill=dark)
    elif scene.pattern == "checker":
        cell = 1.1 * unit
        for row in steps:
            for column in steps:
                if (row + column) % 2:
                    x, y = phase_x + column * cell, phase_y + row * cell
                    pen.rectangle((x, y, x + cell, y + cell), fill=dark)
    elif scene.pattern == "rings":
        for step in range(count, 0, -1):
            radius = (step - scene.pattern_phase[0]) * unit
            if radius > 0:
                box = (middle - radius, middle - radius, middle + radius, middle + radius)
                pen.ellipse(box, fill=dark if step % 2 else colour_of(scene))
    elif scene.pattern == "halves":
        pen.rectangle((middle, 0, side, side), fill=dark)
    elif scene.pattern == "zigzag":
        for step in steps[::2]:
            y = phase_y + step * 1.2 * unit
            tops = [(phase_x + k * unit, y + (unit if k % 2 else -unit)) for k in steps]
            pen.line(tops, fill=dark, width=round(unit))


def _regular(corners: int, start: float = -90.0, radius: float = 1.0) -> list[Point]:
    angles = [math.radians(start + 360 * corner / corners) for corner in range(corners)]
    return [(radius * math.cos(angle), radius * math.sin(angle)) for angle in angles]


def _outline(scene: Scene) -> tuple[list[Point], list[Point]]:
    """Return the outline of the shape and that of its hole, in a box of -1…1, y downwards."""
    if scene.shape == "blob":
        return _blob(scene.outline), []
    if scene.shape == "ring":
        return _regular(48), _regular(48, radius=0.52)
    return _SOLIDS[scene.shape], []


def _blob(radii: tuple[float, ...]) -> list[Point]:
    corners = len(radii)
    points: list[Point] = []
    for index in range(8 * corners):
        corner, part = divmod(index, 8)
        weight = (1 - math.cos(math.pi * part / 8)) / 2
        radius = radii[corner] * (1 - weight) + radii[(corner + 1) % corners] * weight
        angle = 2 * math.pi * index / (8 * corners)
        points.append((radius * math.cos(angle), radius * math.sin(angle)))
    return points


def _star() -> list[Point]:
    outer, inner = _regular(5), _regular(5, start=-54, radius=0.42)
    return [point for pair in zip(outer, inner, strict=True) for point in pair]


def _heart() -> list[Point]:
    angles = [2 * math.pi * index / 48 for index in range(48)]
    return [
        (
            math.sin(t) ** 3 * 1.0,
            -(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)) / 16.0,
        )
        for t in angles
    ]


def _crescent() -> list[Point]:
    outer = [(math.cos(a), math.sin(a)) for a in (math.radians(50 + 260 * k / 24) for k in range(25))]
    inner = [(0.28 + 0.82 * math.cos(a), 0.82 * math.sin(a)) for a in (math.radians(290 - 220 * k / 24) for k in range(25))]
    return outer + inner


def _arch() -> list[Point]:
    outer = [(0.95 * math.cos(a), -0.1 - 0.85 * math.sin(a)) for a in (math.pi * (1 - k / 20) for k in range(21))]
    inner = [(0.42 * math.cos(a), -0.05 - 0.42 * math.sin(a)) for a in (math.pi * k / 20 for k in range(21))]
    return [(-0.95, 0.95), *outer, (0.95, 0.95), (0.42, 0.95), *inner, (-0.42, 0.95)]


_SOLIDS: dict[str, list[Point]] = {
    "circle": _regular(48),
    "square": [(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)],
    "triangle": [(0.0, -0.95), (1.0, 0.8), (-1.0, 0.8)],
    "star": _star(),
    "diamond": [(0.0, -1.05), (0.7, 0.0), (0.0, 1.05), (-0.7, 0.0)],
    "cross": [
        (-0.3, -1), (0.3, -1), (0.3, -0.3), (1, -0.3), (1, 0.3), (0.3, 0.3),
        (0.3, 1), (-0.3, 1), (-0.3, 0.3), (-1, 0.3), (-1, -0.3), (-0.3, -0.3),
    ],
    "heart": _heart(),
    "arrow": [(0, -1), (0.9, 0.0), (0.36, 0.0), (0.36, 1), (-0.36, 1), (-0.36, 0.0), (-0.9, 0.0)],
    "bolt": [(0.25, -1.05), (-0.7, 0.15), (-0.08, 0.15), (-0.35, 1.05), (0.7, -0.3), (0.1, -0.3), (0.6, -1.05)],
    "arch": _arch(),
    "house": [(0, -1), (1, -0.15), (0.75, -0.15), (0.75, 0.95), (-0.75, 0.95), (-0.75, -0.15), (-1, -0.15)],
    "hourglass": [(-0.85, -1), (0.85, -1), (0.2, 0), (0.85, 1), (-0.85, 1), (-0.2, 0)],
    "crescent": _crescent(),
    "tee": [(-0.95, -0.95), (0.95, -0.95), (0.95, -0.35), (0.32, -0.35), (0.32, 1), (-0.32, 1), (-0.32, -0.35), (-0.95, -0.35)],
}  # fmt: skip
