"""Routes for the crops and masks of a dataset's images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from fastapi import APIRouter
from fastapi.responses import Response

from train_embedding.api.bodies import (
    BODY,
    answer,
    check_fields,
    content_field,
    documented,
    flag_field,
    short,
    text_field,
    texts_field,
)
from train_embedding.api.library import UPLOAD
from train_embedding.api.routing import add
from train_embedding.api.runs import option_schema
from train_embedding.engine.config import OPTIONS, check_option
from train_embedding.errors import InvalidInput, InvalidOption
from train_embedding.messages import msg, verbatim
from train_embedding.services.datasets import CheckOptions

if TYPE_CHECKING:
    from train_embedding.services import Services

_FOLDER = {"type": "string", "description": "A folder on the server, or the name of a dataset in the data folder."}
_IMAGE = {"type": "string", "description": "Name of an image in the dataset."}
_IMAGES = {"type": "array", "items": {"type": "string"}, "description": "Names of images in the dataset; by default all."}
_SIZES = ("width", "height", "buckets")
_BY_NAME = {option.name: option for option in OPTIONS}
_SET_FIELDS: dict[str, dict[str, Any]] = {
    "folder": _FOLDER,
    "image": _IMAGE,
    "crop": {
        "type": "array",
        "items": {"type": "integer"},
        "nullable": True,
        "description": "Left, top, width and height in pixels of the upright image; null for the whole image.",
    },
}
_CENTRE_FIELDS: dict[str, dict[str, Any]] = {
    "folder": _FOLDER,
    "images": {**_IMAGES, "description": "Names of the images; by default all that are not excluded."},
    **{name: option_schema(_BY_NAME[name]) for name in _SIZES},
}
_WRITE_FIELDS: dict[str, dict[str, Any]] = {
    "folder": _FOLDER,
    "image": _IMAGE,
    "content": {"type": "string", "description": "An image file in base64: white is trained, black is left out."},
    "foreground": {
        "type": "boolean",
        "description": "Make the mask of the foreground in place of `content`, with a model of rembg on the server.",
        "default": False,
    },
    "replace": {"type": "boolean", "description": "Move a present mask file to the trash.", "default": False},
}
_EXAMPLE = {"folder": "my-cat"}


def add_dataset_images(router: APIRouter, services: Services) -> None:
    """Add the routes to a router."""
    _add_crops(router, services)
    _add_masks(router, services)


def _add_crops(router: APIRouter, services: Services) -> None:
    def list_crops(values: Any = BODY) -> Response:
        """List the crops of images, in pixels; by default of all that have one."""
        check_fields(values, {"folder": {}, "images": {}})
        return answer(services.datasets.crops.list(text_field(values, "folder"), texts_field(values, "images")))

    def set_crop(values: Any = BODY) -> Response:
        """Choose the part of an image that training uses. The image itself is not changed."""
        check_fields(values, _SET_FIELDS)
        folder, image = text_field(values, "folder"), text_field(values, "image")
        if "crop" in values and values["crop"] is None:
            return answer(services.datasets.crops.set(folder, image, None))
        return answer(services.datasets.crops.set_box(folder, image, _box(values)))

    def centre_crops(values: Any = BODY) -> Response:
        """Move the crops of images to the largest face in each, or else to its most salient part."""
        check_fields(values, _CENTRE_FIELDS)
        folder, names = text_field(values, "folder"), texts_field(values, "images")
        return answer(services.datasets.crops.centre(folder, names, _sizes(values)))

    def undo_crops(values: Any = BODY) -> Response:
        """Undo the last change of crops."""
        check_fields(values, _EXAMPLE)
        return answer(services.datasets.crops.undo(text_field(values, "folder")))

    image = {**_EXAMPLE, "image": "01.png"}
    listed = documented({"folder": _FOLDER, "images": _IMAGES}, ["folder"], _EXAMPLE)
    chosen = documented(_SET_FIELDS, ["folder", "image", "crop"], {**image, "crop": [0, 64, 512, 512]})
    add(router, "POST", "/datasets/crops", list_crops, listed)
    add(router, "POST", "/datasets/crops/set", set_crop, chosen)
    add(router, "POST", "/datasets/crops/centre", centre_crops, documented(_CENTRE_FIELDS, ["folder"], _EXAMPLE))
    add(router, "POST", "/datasets/crops/undo", undo_crops, documented({"folder": _FOLDER}, ["folder"], _EXAMPLE))


def _add_masks(router: APIRouter, services: Services) -> None:
    def write_mask(values: Any = UPLOAD) -> Response:
        """Write the mask of an image: one from the request, or one of the foreground."""
        check_fields(values, _WRITE_FIELDS)
        folder, image = text_field(values, "folder"), text_field(values, "image")
        from_model = flag_field(values, "foreground")
        if from_model == ("content" in values):
            raise InvalidInput(msg("Give either {one} or {other}.", one='"content"', other='"foreground"'))
        data = services.datasets.masks.foreground(folder, image) if from_model else content_field(values, "content")
        return answer(services.datasets.masks.write(folder, image, data, replace=flag_field(values, "replace")))

    def remove_masks(values: Any = BODY) -> Response:
        """Move the mask files of images to the trash."""
        check_fields(values, {"folder": {}, "images": {}})
        return answer(services.datasets.masks.remove(text_field(values, "folder"), texts_field(values, "images")))

    def undo_masks(values: Any = BODY) -> Response:
        """Undo the last change of masks."""
        check_fields(values, _EXAMPLE)
        return answer(services.datasets.masks.undo(text_field(values, "folder")))

    image = {**_EXAMPLE, "image": "01.png"}
    removed = documented({"folder": _FOLDER, "images": _IMAGES}, ["folder", "images"], {**_EXAMPLE, "images": ["01.png"]})
    written = documented(_WRITE_FIELDS, ["folder", "image"], {**image, "foreground": True})
    add(router, "POST", "/datasets/masks/write", write_mask, written)
    add(router, "POST", "/datasets/masks/remove", remove_masks, removed)
    add(router, "POST", "/datasets/masks/undo", undo_masks, documented({"folder": _FOLDER}, ["folder"], _EXAMPLE))


def _box(values: dict[str, Any]) -> tuple[int, int, int, int]:
    """Return the four sides of a crop. Raises InvalidInput."""
    sides: Any = values.get("crop")
    found: list[int] = []
    for side in cast("list[Any]", sides) if isinstance(sides, list) else []:
        if isinstance(side, int) and not isinstance(side, bool):
            found.append(side)
    if not isinstance(sides, list) or len(found) != 4 or len(cast("list[Any]", sides)) != 4:
        raise InvalidInput(msg('"{name}" is {value}; it must be four whole numbers or null.', name="crop", value=short(sides)))
    return found[0], found[1], found[2], found[3]


def _sizes(values: dict[str, Any]) -> CheckOptions:
    given: dict[str, Any] = {name: values[name] for name in _SIZES if name in values}
    for name, value in given.items():
        try:
            check_option(_BY_NAME[name], value)
        except InvalidOption as problem:
            raise problem.shown_as(verbatim(f'"{name}"')) from problem
    return CheckOptions(**given)
