"""The demo's images: 64×64 pixels, one shape or two on a plain background. Their words are in `vocabulary`."""

from __future__ import annotations

import colorsys
import math
from dataclasses import dataclass

from PIL import Image, ImageChops, ImageDraw, ImageFilter

SIZE = 64
SUPERSAMPLE = 4
STROKE = 3.5
"Width of an outline in pixels of the finished image."
HALO = 3.0
"Blur of a glowing shape in pixels of the finished image."
_WHITE = (244, 244, 244)
SHADOW_OFFSET = (5.0, 5.0)
"Distance of a shadow from its shape in pixels of the finished image."

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
    style: str = ""
    "outlined, shaded, glow or shadow; empty for a flat shape."
    second: Scene | None = None
    "A second shape, drawn over the first; its background is not drawn."


def draw(scene: Scene) -> Image.Image:
    """Draw a scene as an RGB image, `SIZE` pixels square."""
    side = SIZE * SUPERSAMPLE
    image = Image.new("RGB", (side, side), scene.background)
    _paint(image, scene)
    if scene.second is not None:
        _paint(image, scene.second)
    return image.reduce(SUPERSAMPLE)


def draw_mask(scene: Scene) -> Image.Image:
    """Draw the first shape alone as an "L" image, 255 inside, `SIZE` pixels square."""
    return _mask(scene).reduce(SUPERSAMPLE)


def colour_of(scene: Scene) -> tuple[int, int, int]:
    """Return the RGB colour of a scene's shape."""
    red, green, blue = colorsys.hsv_to_rgb(scene.hue / 360, scene.saturation, scene.value)
    return round(red * 255), round(green * 255), round(blue * 255)


def plain_scene(shape: str) -> Scene:
    """Make a scene of a shape upright in the middle, red on white, the reference for shape overlap."""
    return Scene(shape, 0.0, 1.0, 1.0, "", _WHITE, 24.0, (SIZE / 2, SIZE / 2), 0.0, 0.0, (0.0, 0.0))


def _paint(image: Image.Image, scene: Scene) -> None:
    """Paint the shape of a scene, in its style, on an image of `SUPERSAMPLE` times the size."""
    mask = _mask(scene)
    if scene.style == "outlined":
        inside = mask.filter(ImageFilter.BoxBlur(STROKE * SUPERSAMPLE / 2)).point([0] * 251 + [255] * 5)
        mask = ImageChops.subtract(mask, inside)
    elif scene.style == "glow":
        mask = mask.filter(ImageFilter.GaussianBlur(HALO * SUPERSAMPLE))
    elif scene.style == "shadow":
        offset = tuple(round(distance * SUPERSAMPLE) for distance in SHADOW_OFFSET)
        shadow = Image.new("L", mask.size, 0)
        shadow.paste(mask, offset)  # type: ignore[arg-type]
        image.paste(tuple(round(channel * 0.35) for channel in colour_of(scene)), mask=shadow)
    image.paste(_fill(scene), mask=mask)


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
    if scene.style == "shaded":
        return _shade(scene, bright)
    if not scene.pattern:
        return Image.new("RGB", (side, side), bright)
    dark = tuple(round(channel * 0.35) for channel in bright)
    tile = Image.new("RGB", (2 * side, 2 * side), bright)
    _draw_pattern(ImageDraw.Draw(tile), scene, dark, 2 * side)
    rotated = tile.rotate(scene.pattern_angle, resample=Image.Resampling.BILINEAR)
    left, top = (round(side - coordinate * SUPERSAMPLE) for coordinate in scene.centre)
    return rotated.crop((left, top, left + side, top + side))


def _shade(scene: Scene, bright: tuple[int, int, int]) -> Image.Image:
    """Return a gradient from the bright colour at the top of the shape to a dark one at its bottom."""
    side = SIZE * SUPERSAMPLE
    column = Image.new("RGB", (1, side))
    for y in range(side):
        part = min(1.0, max(0.0, ((y / SUPERSAMPLE - scene.centre[1]) / scene.radius + 1) / 2))
        column.putpixel((0, y), tuple(round(channel * (1 - 0.75 * part)) for channel in bright))
    return column.resize((side, side), Image.Resampling.NEAREST)


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
