"""The part of each image that training uses, chosen by the user: a JSON file in the folder of the images."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from train_embedding.embeddings.regular_files import read_regular_file
from train_embedding.engine.data.buckets import Size
from train_embedding.engine.data.file_names import displayable
from train_embedding.errors import InvalidInput, TrainEmbeddingError, UnreadableFile, cannot_read
from train_embedding.messages import msg

CROPS_FILE = "crops-for-training.json"
"In the folder of the images."
MAX_BYTES = 16 * 2**20
_ABOUT = "The part of each image that training uses: left, top, width and height as fractions of the upright image, from 0 to 1."
SIDES = ("left", "top", "width", "height")
_ROUNDING, _FAR = 1e-6, 1e9
_CORRECT = msg("Correct the file, or delete it to use whole images.")


@dataclass(frozen=True)
class Crop:
    """A rectangle in an image, as fractions of the width and height of the upright image. Make it with `checked_crop`."""

    left: float
    top: float
    width: float
    height: float

    @property
    def is_whole(self) -> bool:
        """Whether it is the whole image."""
        return self.width > 1 - _ROUNDING and self.height > 1 - _ROUNDING

    def box(self, size: Size) -> tuple[int, int, int, int]:
        """Return left, top, right and bottom in whole pixels of an image, at least one pixel wide and high."""
        left, right = _span(self.left, self.width, size[0])
        top, bottom = _span(self.top, self.height, size[1])
        return left, top, right, bottom

    def size(self, size: Size) -> Size:
        """Return its width and height in an image, in pixels."""
        _left, _top, width, height = self.rectangle(size)
        return width, height

    def rectangle(self, size: Size) -> list[int]:
        """Return left, top, width and height in whole pixels of an image."""
        left, top, right, bottom = self.box(size)
        return [left, top, right - left, bottom - top]

    def to_json(self) -> dict[str, float]:
        """Return JSON values."""
        return {side: float(getattr(self, side)) for side in SIDES}


class FolderCrops:
    """The crops of images, read once for each folder."""

    def __init__(self) -> None:
        self._folders: dict[Path, Mapping[str, object] | UnreadableFile] = {}

    def of(self, file: Path) -> Crop | None:
        """Return the crop of an image; None if all of it is used.

        Raises:
            UnreadableFile: The file with the crops cannot be read, or the crop is not valid.
        """
        if file.parent not in self._folders:
            try:
                self._folders[file.parent] = read_crops(file.parent)
            except UnreadableFile as error:
                self._folders[file.parent] = error
        found = self._folders[file.parent]
        if isinstance(found, UnreadableFile):
            raise found
        return crop_in(found, file.name)


def checked_crop(left: Any, top: Any, width: Any, height: Any) -> Crop:
    """Return a crop of these fractions. Raises InvalidInput if they are not numbers, or not inside the image."""
    sides = dict(zip(SIDES, (left, top, width, height), strict=True))
    for name, value in sides.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not -_FAR <= value <= _FAR:  # False for NaN
            text = msg('"{name}" of a crop must be a number from 0 to 1, not {value}.', name=name, value=_short(value))
            raise InvalidInput(text)
    if width <= 0 or height <= 0:
        raise InvalidInput(msg("The crop is empty: its width and height must be larger than 0."))
    if min(left, top) < -_ROUNDING or left + width > 1 + _ROUNDING or top + height > 1 + _ROUNDING:
        raise InvalidInput(msg("The crop is not inside the image: its sides are fractions of the image from 0 to 1."))
    left, top = min(1.0, max(0.0, float(left))), min(1.0, max(0.0, float(top)))
    return Crop(left, top, min(float(width), 1 - left), min(float(height), 1 - top))


def pixel_crop(box: tuple[int, int, int, int], size: Size) -> Crop:
    """Return the crop of left, top, width and height in pixels. Raises InvalidInput if it is not inside an image of this size."""
    left, top, width, height = box
    if width <= 0 or height <= 0:
        raise InvalidInput(msg("The crop is empty: its width and height must be larger than 0."))
    if min(left, top) < 0 or left + width > size[0] or top + height > size[1]:
        raise InvalidInput(
            msg("The crop is not inside the image, which has {width} × {height} pixels.", width=size[0], height=size[1])
        )
    return checked_crop(left / size[0], top / size[1], width / size[0], height / size[1])


def read_crops(folder: Path) -> Mapping[str, object]:
    """Read the crops of a folder as they are in its file, by the names of images; none if there is no such file.

    Raises:
        UnreadableFile: The file cannot be read, or is not as `format_crops` writes it.
    """
    file = folder / CROPS_FILE
    try:
        data = read_regular_file(file, MAX_BYTES)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UnreadableFile(cannot_read(file, error)) from error
    if len(data) > MAX_BYTES:
        raise UnreadableFile(msg('"{file}" is larger than {most} MB.', file=file, most=MAX_BYTES // 2**20))
    try:
        values: Any = json.loads(data.decode("utf-8-sig"), parse_int=float)  # a whole number may have millions of digits
    except (ValueError, RecursionError) as error:
        reason = str(error)[:100]
        raise UnreadableFile(msg('"{file}" is not JSON: {reason}.', file=CROPS_FILE, reason=reason), _CORRECT) from error
    crops: Any = cast("dict[str, Any]", values).get("crops") if isinstance(values, dict) else None
    if not isinstance(crops, dict):
        raise UnreadableFile(msg('"{file}" has no object "crops" with the names of images.', file=CROPS_FILE), _CORRECT)
    return cast("dict[str, object]", crops)


def crop_in(crops: Mapping[str, object], name: str) -> Crop | None:
    """Return the crop of an image, by its file's name; None if all of it is used. Raises UnreadableFile if it is not valid."""
    value: Any = crops.get(displayable(name))
    if value is None:
        return None
    try:
        if not isinstance(value, dict) or set(cast("dict[str, Any]", value)) != set(SIDES):
            raise InvalidInput(msg("A crop needs left, top, width and height."))
        crop = checked_crop(**cast("dict[str, Any]", value))
    except TrainEmbeddingError as error:
        raise UnreadableFile(
            msg('Its crop in "{file}" cannot be used. {problem}', file=CROPS_FILE, problem=error.message), _CORRECT
        ) from error
    return None if crop.is_whole else crop


def format_crops(crops: Mapping[str, object]) -> bytes:
    """Return the content of the file with crops."""
    text = json.dumps({"about": _ABOUT, "crops": dict(sorted(crops.items()))}, ensure_ascii=True, indent=1, allow_nan=True)
    return (text + "\n").encode()


def _span(start: float, length: float, most: int) -> tuple[int, int]:
    first = min(most - 1, round(start * most))
    return first, max(first + 1, min(most, round((start + length) * most)))


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "…"
