"""Routes for datasets and their captions."""

from __future__ import annotations

import base64
import binascii
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from fastapi import APIRouter
from fastapi.responses import Response

from train_embedding.api.bodies import BODY, answer, check_fields, documented, flag_field, short, text_field
from train_embedding.api.library import UPLOAD
from train_embedding.api.routing import add
from train_embedding.api.runs import option_schema
from train_embedding.engine.config import OPTIONS, check_option
from train_embedding.errors import InvalidInput, InvalidOption
from train_embedding.messages import msg, verbatim
from train_embedding.services.datasets import CaptionEdit, CheckOptions, Upload
from train_embedding.services.typed_paths import typed_path

if TYPE_CHECKING:
    from train_embedding.services import Services

_FOLDER = {"type": "string", "description": "A folder on the server, or the name of a dataset in the data folder."}
_IMAGES = {"type": "array", "items": {"type": "string"}, "description": "Names of images in the dataset."}
_SEEN = ("width", "height", "buckets", "resize_mode", "masks", "repeats", "template")
_BY_NAME = {option.name: option for option in OPTIONS}
_CHECK_FIELDS: dict[str, dict[str, Any]] = {
    "folder": _FOLDER,
    "embedding": {"type": "string", "description": "The trigger, to check whether captions contain it.", "default": ""},
    "wait": {
        "type": "boolean",
        "description": "Answer when all images have been measured. Otherwise answer with what is known and measure the others.",
        "default": True,
    },
    **{name: option_schema(_BY_NAME[name]) for name in _SEEN},
}
_ADD_FIELDS: dict[str, dict[str, Any]] = {
    "folder": _FOLDER,
    "files": {
        "type": "array",
        "description": "Objects with `path`, a file on the server, or with `name` and `content` in base64: images, masks, "
        "captions and zip archives of them.",
    },
}
_EDIT_FIELDS: dict[str, dict[str, Any]] = {
    "folder": _FOLDER,
    "images": {**_IMAGES, "description": "Names of the images whose captions are changed; by default all."},
    "caption": {"type": "string", "description": "The caption to write; for one image, and without the fields below."},
    "prefix": {"type": "string", "description": "Put in front of captions.", "default": ""},
    "suffix": {"type": "string", "description": "Put at the end of captions.", "default": ""},
    "find": {"type": "string", "description": "Text to replace.", "default": ""},
    "replace": {"type": "string", "description": "Text that replaces it.", "default": ""},
    "remove_tag": {"type": "string", "description": "A tag to remove: the text between two commas.", "default": ""},
    "create": {"type": "boolean", "description": "Also write captions for images that have none.", "default": False},
}
_EXAMPLE = {"folder": "my-cat"}


def add_datasets(router: APIRouter, services: Services) -> None:
    """Add the routes to a router."""
    datasets = services.datasets

    def list_datasets() -> Response:
        """List the datasets in the data folder."""
        return answer(datasets.list())

    def check_dataset(values: Any = BODY) -> Response:
        """Report what training will see of each image: size, bucket, crop, mask and caption, with warnings."""
        check_fields(values, _CHECK_FIELDS)
        folder, options = text_field(values, "folder"), _check_options(values)
        wait = flag_field(values, "wait") if "wait" in values else True
        return answer(datasets.check(folder, options) if wait else datasets.look(folder, options))

    def create_dataset(values: Any = UPLOAD) -> Response:
        """Create a dataset in the data folder, and add files to it."""
        check_fields(values, {"name": {}, "files": {}})
        with _uploads(services, values) as uploads:
            return answer(datasets.create(text_field(values, "name"), uploads))

    def add_files(values: Any = UPLOAD) -> Response:
        """Add images, captions, masks and zip archives of them to a dataset. Other files are skipped with the reason."""
        check_fields(values, _ADD_FIELDS)
        with _uploads(services, values) as uploads:
            return answer(datasets.add(text_field(values, "folder"), uploads))

    named = {"name": {"type": "string", "description": "Its name."}, "files": _ADD_FIELDS["files"]}
    files = [{"path": "/home/me/cat.zip"}]
    add(router, "GET", "/datasets", list_datasets)
    add(router, "POST", "/datasets/check", check_dataset, documented(_CHECK_FIELDS, ["folder"], _EXAMPLE))
    add(router, "POST", "/datasets/create", create_dataset, documented(named, ["name"], {"name": "my-cat", "files": files}))
    add(router, "POST", "/datasets/add", add_files, documented(_ADD_FIELDS, ["folder", "files"], {**_EXAMPLE, "files": files}))
    _add_images(router, services)
    _add_captions(router, services)


def _add_images(router: APIRouter, services: Services) -> None:
    datasets = services.datasets

    def remove_images(values: Any = BODY) -> Response:
        """Move images with their captions and masks to the trash."""
        folder, images = _images_of(values)
        return answer({"moved": datasets.remove(folder, images)})

    def list_removed(values: Any = BODY) -> Response:
        """List what was removed from a dataset, newest first."""
        check_fields(values, _EXAMPLE)
        return answer(datasets.removed(text_field(values, "folder")))

    def restore_images(values: Any = BODY) -> Response:
        """Bring removed images back: those of an item by its id, or of the newest."""
        check_fields(values, {"folder": {}, "item": {}})
        return answer({"restored": datasets.restore(text_field(values, "folder"), text_field(values, "item", "")).files})

    def delete_dataset(values: Any = BODY) -> Response:
        """Move a whole dataset of the data folder to the trash."""
        check_fields(values, _EXAMPLE)
        return answer({"deleted": datasets.delete(text_field(values, "folder"))})

    def exclude_images(values: Any = BODY) -> Response:
        """Exclude images from training without deleting them."""
        folder, images = _images_of(values)
        return answer({"excluded": datasets.exclude(folder, images)})

    def include_images(values: Any = BODY) -> Response:
        """Use excluded images again."""
        folder, images = _images_of(values)
        return answer({"included": datasets.exclude(folder, images, excluded=False)})

    images = documented({"folder": _FOLDER, "images": _IMAGES}, ["folder", "images"], {**_EXAMPLE, "images": ["01.png"]})
    folder = documented({"folder": _FOLDER}, ["folder"], _EXAMPLE)
    item = {"folder": _FOLDER, "item": {"type": "string", "description": "An item of the list; by default the newest."}}
    add(router, "POST", "/datasets/remove", remove_images, images)
    add(router, "POST", "/datasets/removed", list_removed, folder)
    add(router, "POST", "/datasets/restore", restore_images, documented(item, ["folder"], _EXAMPLE))
    add(router, "POST", "/datasets/delete", delete_dataset, folder)
    add(router, "POST", "/datasets/exclude", exclude_images, images)
    add(router, "POST", "/datasets/include", include_images, images)


def _add_captions(router: APIRouter, services: Services) -> None:
    datasets = services.datasets

    def get_captions(values: Any = BODY) -> Response:
        """Get the captions of images with their numbers of tokens, by default of all."""
        check_fields(values, {"folder": {}, "images": {}})
        return answer(datasets.captions(text_field(values, "folder"), _names(values)))

    def change_captions(values: Any = BODY) -> Response:
        """Write the caption of an image, or change many: prefix, suffix, find and replace, remove a tag. It can be undone."""
        check_fields(values, _EDIT_FIELDS)
        folder, names = text_field(values, "folder"), _names(values)
        if "caption" in values:
            name = names[0] if len(names) == 1 else ""
            return answer(datasets.write_caption(folder, name, text_field(values, "caption")))
        edit = CaptionEdit(*(text_field(values, field, "") for field in ("remove_tag", "find", "replace", "prefix", "suffix")))
        return answer(datasets.edit_captions(folder, edit, names, flag_field(values, "create")))

    def undo_captions(values: Any = BODY) -> Response:
        """Undo the last change of captions."""
        check_fields(values, _EXAMPLE)
        return answer(datasets.undo_captions(text_field(values, "folder")))

    def list_tags(values: Any = BODY) -> Response:
        """List the tags of all captions, the most frequent first, with the number of images that have each."""
        check_fields(values, _EXAMPLE)
        return answer([{"tag": tag, "images": number} for tag, number in datasets.tags(text_field(values, "folder"))])

    folder = documented({"folder": _FOLDER}, ["folder"], _EXAMPLE)
    add(
        router,
        "POST",
        "/datasets/captions",
        get_captions,
        documented({"folder": _FOLDER, "images": _IMAGES}, ["folder"], _EXAMPLE),
    )
    example = {**_EXAMPLE, "prefix": "my-cat, "}
    add(router, "POST", "/datasets/captions/change", change_captions, documented(_EDIT_FIELDS, ["folder"], example))
    add(router, "POST", "/datasets/captions/undo", undo_captions, folder)
    add(router, "POST", "/datasets/tags", list_tags, folder)


def _check_options(values: dict[str, Any]) -> CheckOptions:
    """Read the options of a run that decide how it sees its images. Raises InvalidInput."""
    given: dict[str, Any] = {name: values[name] for name in _SEEN if name in values}
    lines: Any = given.get("template", [])
    if isinstance(lines, str | list):
        given["template"] = tuple(lines.splitlines() if isinstance(lines, str) else cast("list[Any]", lines))
    for name, value in given.items():
        if name == "template" and not value:
            continue
        try:
            check_option(_BY_NAME[name], value)
        except InvalidOption as problem:
            raise problem.shown_as(verbatim(f'"{name}"')) from problem
    return CheckOptions(embedding=text_field(values, "embedding", ""), **given)


def _images_of(values: dict[str, Any]) -> tuple[str, list[str]]:
    check_fields(values, {"folder": {}, "images": {}})
    return text_field(values, "folder"), _names(values)


def _names(values: dict[str, Any]) -> list[str]:
    names: Any = values.get("images", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in cast("list[Any]", names)):
        raise InvalidInput(msg('"{name}" is {value}; it must be a list of texts.', name="images", value=short(names)))
    return cast("list[str]", names)


@contextmanager
def _uploads(services: Services, values: dict[str, Any]) -> Generator[list[Upload], None, None]:
    """Yield the files of a request, with contents in temporary files. Raises InvalidInput."""
    files: Any = values.get("files", [])
    if not isinstance(files, list):
        raise InvalidInput(msg('"{name}" is {value}; it must be a list of objects.', name="files", value=short(files)))
    with tempfile.TemporaryDirectory(prefix="train-embedding-") as folder:
        uploads: list[Upload] = []
        for number, file in enumerate(cast("list[Any]", files)):
            if not isinstance(file, dict):
                raise InvalidInput(msg('"{name}" is {value}; it must be a list of objects.', name="files", value=short(file)))
            known = cast("dict[str, Any]", file)
            check_fields(known, {"path": {}, "name": {}, "content": {}})
            if "path" in known:
                path = services.datasets.check_file(typed_path(text_field(known, "path")))
                uploads.append(Upload(path.name, path))
                continue
            target = Path(folder) / str(number)
            try:
                target.write_bytes(base64.b64decode(text_field(known, "content"), validate=True))
            except (binascii.Error, ValueError) as error:
                raise InvalidInput(
                    msg('"{name}" is not base64: {reason}.', name="content", reason=verbatim(str(error)))
                ) from error
            uploads.append(Upload(text_field(known, "name"), target))
        yield uploads
