"""The images of a grid: its cells, and those of the dataset beside it."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from train_embedding.allowed_folders import resolve_allowed
from train_embedding.embeddings.regular_files import read_regular_file
from train_embedding.errors import NotFound, TrainEmbeddingError, UnreadableFile, cannot_read
from train_embedding.images.decoder import decode_image
from train_embedding.images.errors import NotDecoded, TooCostly, TooManyPixels
from train_embedding.images.kinds import HEAD, kind_of
from train_embedding.images.limits import THUMBNAIL, THUMBNAIL_BYTES
from train_embedding.messages import NOTHING, msg
from train_embedding.services.run_records import RunState
from train_embedding.services.training.history import Stamp, stamp_of
from train_embedding.services.training.image_report import read_report

if TYPE_CHECKING:
    from PIL import Image

    from train_embedding.engine.data.crops import Crop

SHOWN_IMAGES = 6
"Number of dataset images beside a grid."
_SHEET_SIDE = 256
"Longest side of an image of the dataset on a sheet, in pixels."
_MOST_DECODED = 4096
"Longest side to which an image is decoded of which a small part is shown, in pixels."


def read_cell(folder: Path, key: str) -> Image.Image | None:
    """Return the image of a cell; None if it has not been drawn or cannot be read."""
    with suppress(OSError, TrainEmbeddingError):
        return decode(read_regular_file(folder / f"{key}.png", THUMBNAIL_BYTES), key, 0)
    return None


def image_names(state: RunState) -> list[str]:
    """Return the names of the first images that a run was trained on."""
    return [str(image["file"]) for image in _reported(state)]


def shown_files(state: RunState) -> list[tuple[str, Stamp]]:
    """Return the images of the dataset beside a grid, with the stamps of their files."""
    return [(name, stamp_of(Path(state.spec.dataset) / name)) for name in image_names(state)]


def shown_images(state: RunState, allowed: Sequence[Path] | None) -> list[Image.Image]:
    """Return the images of the dataset beside a grid, without those that cannot be read."""
    images: list[Image.Image] = []
    for number in range(len(image_names(state))):
        with suppress(TrainEmbeddingError):
            images.append(dataset_image(state, number, _SHEET_SIDE, allowed))
    return images


def dataset_image(state: RunState, number: int, side: int, allowed: Sequence[Path] | None) -> Image.Image:
    """Return a small image of what a run used of an image of its dataset.

    Args:
        state: The run.
        number: Of the image, from 0.
        side: Its longest side in pixels.
        allowed: The only folders that may be read; None for all.

    Raises:
        NotFound: There is no such image.
        NotAllowed: The folder may not be read.
        UnreadableFile: The image cannot be read.
    """
    from train_embedding.engine.data.image import read_header

    reported = _reported(state)
    if not 0 <= number < len(reported):
        raise NotFound(msg("This image does not exist."))
    name, crop = str(reported[number]["file"]), _crop_in(reported[number])
    file = resolve_allowed(Path(state.spec.dataset) / name, allowed, shown=name)
    try:
        data = read_regular_file(file, THUMBNAIL_BYTES)
    except OSError as error:
        raise UnreadableFile(cannot_read(name, error)) from error
    largest = side
    if crop is not None:
        size = tuple(reported[number]["size"])
        largest = min(_MOST_DECODED, math.ceil(side * max(size) / max(crop.size(size))))
    image, turn = decode(data, name, largest), read_header(file).turn
    upright = image if turn is None else image.transpose(turn)
    if crop is not None:
        upright = upright.crop(crop.box(upright.size))
        upright.thumbnail((side, side))
    return upright


def _reported(state: RunState) -> list[dict[str, Any]]:
    """Return what the report of a run says about its first images."""
    if state.spec.distills:
        return []
    try:
        return read_report(state.folder)["used"][:SHOWN_IMAGES]
    except NotFound:
        return []


def _crop_in(reported: dict[str, Any]) -> Crop | None:
    """Return the crop of an image as a report has it; None for the whole image."""
    from train_embedding.engine.data.crops import pixel_crop

    box = reported.get("crop")
    return None if box is None else pixel_crop(tuple(box), tuple(reported["size"]))


def decode(data: bytes, name: str, side: int) -> Image.Image:
    """Decode an image in a separate process. Raises UnreadableFile."""
    kind = kind_of(data[:HEAD], Path(name).suffix)
    if kind not in THUMBNAIL:
        raise UnreadableFile(msg("The image cannot be read."))
    try:
        return decode_image(data, kind, THUMBNAIL[kind], side=side)
    except (TooManyPixels, TooCostly, NotDecoded) as error:
        raise UnreadableFile(msg("The image cannot be read."), NOTHING) from error


def jpeg(image: Image.Image) -> bytes:
    """Return an image as a JPEG file."""
    data = io.BytesIO()
    image.convert("RGB").save(data, "JPEG", quality=88)
    return data.getvalue()
