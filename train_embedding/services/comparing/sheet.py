"""A grid as one image with labels."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from train_embedding.images.png import encode_png
from train_embedding.services.comparing.grid import Grid
from train_embedding.services.infotext import infotext, with_infotext

if TYPE_CHECKING:
    from PIL import Image

_MAX_PIXELS = 48 * 10**6
"A larger sheet is reduced."
_GAP = 8


@dataclass(frozen=True)
class SheetRow:
    """A row of the sheet: its label, and the image of each column, None where it has not been drawn."""

    label: str
    images: Sequence[Image.Image | None]


def make_sheet(
    grid: Grid, title: str, rows: Sequence[SheetRow], beside: Sequence[Image.Image] = (), beside_label: str = ""
) -> bytes:
    """Put the images of a grid on one sheet.

    Args:
        grid: The grid.
        title: Stands above it.
        rows: The rows in order.
        beside: Images of the dataset, shown above the rows.
        beside_label: Their label.

    Returns:
        The bytes of a PNG file, with a text chunk "parameters" as the WebUI writes it.
    """
    from PIL import Image, ImageDraw

    width, height = _cell_size(grid, len(rows), bool(beside))
    columns = grid.options.prompts
    size = max(13, min(28, width // 16))
    left, line = size * 9, round(size * 1.3)
    heads = [_wrapped(prompt, max(8, width // round(size * 0.56)), 4) for prompt in columns]
    head = line * max(len(lines) for lines in heads)
    strip = (height // 2 + _GAP) if beside else 0
    top = _GAP + line + _GAP + strip + head + _GAP
    sheet = Image.new("RGB", (left + len(columns) * (width + _GAP) + _GAP, top + len(rows) * (height + _GAP)), "white")
    pen = ImageDraw.Draw(sheet)
    _write(pen, (_GAP, _GAP), title, size)
    if beside:
        y = _GAP + line + _GAP
        _write_lines(pen, (_GAP, y), _wrapped(beside_label, left // round(size * 0.6), 4), size, line)
        _paste_strip(sheet, beside, (left, y), height // 2)
    for number, lines in enumerate(heads):
        _write_lines(pen, (left + number * (width + _GAP), top - head - _GAP), lines, size, line)
    for index, row in enumerate(rows):
        y = top + index * (height + _GAP)
        _write_lines(pen, (_GAP, y), _wrapped(row.label, left // round(size * 0.6), 6), size, line)
        for number, image in enumerate(row.images):
            box = (left + number * (width + _GAP), y)
            if image is None:
                pen.rectangle((*box, box[0] + width - 1, box[1] + height - 1), fill="#dddddd")
            else:
                sheet.paste(image.convert("RGB").resize((width, height)) if image.size != (width, height) else image, box)
    return with_infotext(encode_png(sheet), sheet_text(grid, [row.label for row in rows]))


def sheet_text(grid: Grid, labels: Sequence[str]) -> str:
    """Return the infotext of a sheet: that of the first prompt, and the axes as the WebUI's X/Y/Z plot names them."""
    name = grid.rows[0].embedding
    request = grid.options.request(grid.options.prompts[0], name)
    prompts = ", ".join(f'"{prompt}"' if "," in prompt else prompt for prompt in grid.options.prompts)
    axes = f'X Type: Prompt, X Values: "{_quoted(prompts)}", Y Type: Embedding, Y Values: "{_quoted(", ".join(labels))}"'
    return f"{infotext(request, grid.checkpoint, grid.checkpoint_hash)}, Script: Train Embedding, {axes}"


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")


def _cell_size(grid: Grid, rows: int, strip: bool) -> tuple[int, int]:
    width, height = grid.options.width, grid.options.height
    if max(width, height) < 192:  # small models: labels would not fit beside the images
        factor = -(-192 // max(width, height))
        width, height = width * factor, height * factor
    pixels = width * height * len(grid.options.prompts) * (rows + strip / 2)
    if pixels > _MAX_PIXELS:
        scale = (_MAX_PIXELS / pixels) ** 0.5
        width, height = max(64, round(width * scale)), max(64, round(height * scale))
    return width, height


def _wrapped(text: str, columns: int, lines: int) -> list[str]:
    return textwrap.wrap(text, max(4, columns), max_lines=lines, placeholder=" …") or [""]


def _write_lines(pen: Any, place: tuple[int, int], lines: Sequence[str], size: int, height: int) -> None:
    for number, text in enumerate(lines):
        _write(pen, (place[0], place[1] + number * height), text, size)


def _write(pen: Any, place: tuple[int, int], text: str, size: int) -> None:
    from train_embedding.embeddings.fonts import font_for

    pen.text(place, text, "black", font_for(text, size))


def _paste_strip(sheet: Image.Image, images: Sequence[Image.Image], place: tuple[int, int], height: int) -> None:
    x = place[0]
    for image in images:
        small = image.convert("RGB").resize((max(1, image.width * height // image.height), height))
        if x + small.width > sheet.width - _GAP:
            break
        sheet.paste(small, (x, place[1]))
        x += small.width + _GAP
