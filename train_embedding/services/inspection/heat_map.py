"""Cosines as a small picture: blue for -1, white for 0, red for 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

SIDE = 300
"Pixels that a map's side comes near to."
_GAP = 8
_BLUE, _WHITE, _RED = (33, 80, 170), (250, 250, 250), (190, 30, 45)


def heat_map(tables: Sequence[Sequence[Sequence[float]]]) -> Image.Image:
    """One square per table [n, n] of values from -1 to 1, side by side; the first value stands at the top left."""
    from PIL import Image

    maps = [_square(table) for table in tables]
    width = sum(one.width for one in maps) + _GAP * (len(maps) - 1)
    picture = Image.new("RGB", (width, max(one.height for one in maps)), _WHITE)
    left = 0
    for one in maps:
        picture.paste(one, (left, 0))
        left += one.width + _GAP
    return picture


def _square(table: Sequence[Sequence[float]]) -> Image.Image:
    from PIL import Image

    side = len(table)
    small = Image.new("RGB", (side, side))
    small.putdata([_colour(value) for row in table for value in row])
    scale = max(SIDE // side, 1)
    return small.resize((side * scale, side * scale), Image.Resampling.NEAREST)


def _colour(value: float) -> tuple[int, int, int]:
    part = min(abs(value), 1.0)
    red, green, blue = (
        round(white + (full - white) * part) for white, full in zip(_WHITE, _RED if value > 0 else _BLUE, strict=True)
    )
    return red, green, blue
