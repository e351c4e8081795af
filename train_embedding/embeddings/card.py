"""Share cards: a picture with name, checkpoint, vectors and steps, as on the images that the WebUI's trainer makes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from PIL import Image, ImageDraw, ImageFilter

from train_embedding.embeddings.fonts import font_for

SHORTEST, LONGEST = 512, 1024
"Sides of a card in pixels, unless the embedding needs more."
MOST_OBLONG = 2.0
"Largest ratio of the sides; longer pictures are cropped."
_NUMBERS = 48
"Of the vectors' picture: three for each of 16 colours."
_LONGEST_TEXT = 300
"Characters of a text; more of them do not fit on a card, and files of others may have thousands."
_LIFTED = [20 + value * 235 // 255 for value in range(256)] * 3
"Black is lifted, because pixels with values in them cannot be black, and would stand out."
_FILTER = Image.Resampling.LANCZOS


@dataclass(frozen=True)
class Caption:
    """The texts of a card; empty ones are left out."""

    title: str
    "At the top."
    left: str = ""
    "At the bottom, as the other two."
    middle: str = ""
    right: str = ""


def caption_of(values: Mapping[str, object]) -> Caption:
    """Return the caption for an embedding, in the WebUI's words.

    Args:
        values: In the WebUI's layout (`formats.layouts.webui`).
    """
    step = values.get("step")
    trained = f" {step}s" if isinstance(step, int) and step else ""
    checkpoint_hash = str(values.get("sd_checkpoint") or "")
    return Caption(
        title=f"<{values.get('name') or ''}>",
        left=str(values.get("sd_checkpoint_name") or ""),
        middle=f"[{checkpoint_hash}]" if checkpoint_hash else "",
        right=f"{len(vectors_of(values))}v{trained}",
    )


def vectors_of(values: Mapping[str, object]) -> torch.Tensor:
    """Return the vectors among values in the WebUI's layout, [n, d]."""
    held = values.get("string_to_param", values)
    return next(value for value in cast("Mapping[str, object]", held).values() if isinstance(value, torch.Tensor))


def draw_card(picture: Image.Image, caption: Caption, pixels: int = 0) -> Image.Image:
    """Draw a card.

    Args:
        picture: Fills the card; small ones are enlarged.
        caption: Is written on it.
        pixels: Number of pixels that the card must have at least.

    Returns:
        An RGB image.
    """
    card = _shaded(_resized(picture.convert("RGB"), pixels))
    width, height = card.size
    margin = min(width, height) // 24
    _write(card, caption.title, (margin, margin), "la", (0.82 * width, min(width, height) // 9))
    room, size = (width - 2 * margin) / 3 - margin / 2, min(width, height) // 26
    bottom = height - margin
    for text, x, anchor in (
        (caption.left, margin, "ls"),
        (caption.middle, width // 2, "ms"),
        (caption.right, width - margin, "rs"),
    ):
        _write(card, text, (x, bottom), anchor, (room, size))
    return card.point(_LIFTED)


def draw_vectors(vectors: torch.Tensor) -> Image.Image:
    """Draw a picture for an embedding that has none: a soft gradient whose colours depend on the vectors.

    Args:
        vectors: [n, d].

    Returns:
        An RGB image of 512 × 512 pixels.
    """
    numbers = vectors.float().flatten()
    values = numbers.repeat(-(-_NUMBERS // len(numbers)))
    means = torch.stack([part.mean() for part in values.tensor_split(_NUMBERS)])
    places = means.argsort().argsort() / (_NUMBERS - 1)  # from 0 to 1, evenly spread whatever the size of the numbers
    hue = float(places[0])
    grid = Image.new("HSV", (4, 4))
    for index in range(16):
        turn, depth, light = (float(value) for value in places[3 * index : 3 * index + 3])
        colour = (hue + 0.22 * (turn - 0.5)) % 1, 0.45 + 0.35 * depth, 0.35 + 0.6 * light
        grid.putpixel((index % 4, index // 4), tuple(int(255 * value) for value in colour))
    large = grid.convert("RGB").resize((SHORTEST, SHORTEST), Image.Resampling.BICUBIC)
    return large.filter(ImageFilter.GaussianBlur(SHORTEST // 16))


def _resized(picture: Image.Image, pixels: int) -> Image.Image:
    """Crop a picture to a ratio that a card can have, and scale it to a card's size."""
    width, height = picture.size
    cropped_width, cropped_height = min(width, round(height * MOST_OBLONG)), min(height, round(width * MOST_OBLONG))
    left, top = (width - cropped_width) // 2, (height - cropped_height) // 2
    picture = picture.crop((left, top, left + cropped_width, top + cropped_height))
    short, long = sorted(picture.size)
    scale = max(min(max(1.0, SHORTEST / short), LONGEST / long), math.sqrt(pixels / (short * long)))
    if scale == 1:
        return picture
    return picture.resize((math.ceil(picture.width * scale), math.ceil(picture.height * scale)), _FILTER)


def _shaded(picture: Image.Image) -> Image.Image:
    """Darken a picture at the top and the bottom, so that white text can be read on it."""
    height = picture.height
    shade = Image.new("L", (1, height))
    for y in range(height):
        from_top, from_bottom = y / height, (height - y) / height
        dark = max(0.72 * _fall(from_top / 0.32), 0.82 * _fall(from_bottom / 0.26))
        shade.putpixel((0, y), int(255 * dark))
    return Image.composite(Image.new("RGB", picture.size), picture, shade.resize(picture.size))


def _fall(at: float) -> float:
    """Fall smoothly from 1 at 0 to 0 at 1."""
    return 0.5 + 0.5 * math.cos(math.pi * at) if at < 1 else 0.0


def _write(card: Image.Image, text: str, at: tuple[int, int], anchor: str, room: tuple[float, int]) -> None:
    """Write a text with a soft shadow, smaller or shortened if it does not fit.

    Args:
        card: The image.
        text: The text.
        at: Where its anchor is.
        anchor: As Pillow names it.
        room: Its largest width, and the size of its font, in pixels.
    """
    if not text:
        return
    widest, size = room
    if len(text) > _LONGEST_TEXT:
        text = f"{text[:_LONGEST_TEXT]}…"
    font = font_for(text, size)
    if font.getlength(text) > widest:
        font = font_for(text, max(int(size * widest / font.getlength(text)), size // 3, 12))
        while len(text) > 2 and font.getlength(text) > widest:
            text = f"{text[:-2]}…"
    blur = max(2, size // 8)
    shadow = Image.new("L", card.size)
    ImageDraw.Draw(shadow).text(at, text, font=font, fill=190, anchor=anchor)
    card.paste((0, 0, 0), mask=shadow.filter(ImageFilter.GaussianBlur(blur)))
    ink = Image.new("L", card.size)
    ImageDraw.Draw(ink).text(at, text, font=font, fill=240, anchor=anchor)
    card.paste((255, 255, 255), mask=ink)
