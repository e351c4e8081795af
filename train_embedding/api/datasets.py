"""Routes for datasets and their captions."""

from __future__ import annotations

import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

from fastapi import APIRouter
from fastapi.responses import Response

from train_embedding.api.bodies import (
    BODY,
    BODY_IF_ANY,
    answer,
    check_fields,
    content_field,
    documented,
    flag_field,
    number_field,
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
from train_embedding.services.datasets import CaptionEdit, CaptionOptions, CaptionRequest, CheckOptions, Existing, Upload
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
_GENERATE_FIELDS: dict[str, dict[str, Any]] = {
    "folder": _FOLDER,
    "images": {**_IMAGES, "description": "Names of the images; by default all that are not excluded."},
    "interrogator": {"type": "string", "description": "Name of an interrogator of the host."},
    "model_folder": {
        "type": "string",
        "description": "Folder of a caption model on the server, in place of an interrogator: "
        "BLIP, Florence-2, GIT or a WD14 tagger.",
    },
    "existing": {
        "type": "string",
        "enum": list(get_args(Existing)),
        "description": "What happens to images with a caption file: they keep it, the new caption is appended, or replaces it.",
        "default": "keep",
    },
    "prefix": {"type": "string", "description": "Put in front of each new caption.", "default": ""},
    "threshold": {
        "type": "number",
        "description": "Smallest probability of a general tag of a tagger.",
        "default": CaptionOptions.threshold,
    },
    "character_threshold": {
        "type": "number",
        "description": "Smallest probability of a tag that names a character.",
        "default": CaptionOptions.character_threshold,
    },
}
_EXAMPLE = {"folder": "my-cat"}


def add_datasets(router: APIRouter, services: Services) -> None:
    """Add the routes to a router."""

    def list_datasets() -> Response:
        """List the datasets in the data folder."""
        return answer(services.datasets.list())

    def check_dataset(values: Any = BODY) -> Response:
        """Report what training will see of each image: size, bucket, crop, mask and caption, with warnings."""
        check_fields(values, _CHECK_FIELDS)
        folder, options = text_field(values, "folder"), _check_options(values)
        wait = flag_field(values, "wait") if "wait" in values else True
        return answer(services.datasets.check(folder, options) if wait else services.datasets.look(folder, options))

    def create_dataset(values: Any = UPLOAD) -> Response:
        """Create a dataset in the data folder, and add files to it."""
        check_fields(values, {"name": {}, "files": {}})
        with _uploads(services, values) as uploads:
            return answer(services.datasets.create(text_field(values, "name"), uploads))

    def add_files(values: Any = UPLOAD) -> Response:
        """Add images, captions, masks and zip archives of them to a dataset. Other files are skipped with the reason."""
        check_fields(values, _ADD_FIELDS)
        with _uploads(services, values) as uploads:
            return answer(services.datasets.add(text_field(values, "folder"), uploads))

    named = {"name": {"type": "string", "description": "Its name."}, "files": _ADD_FIELDS["files"]}
    files = [{"path": "/home/me/cat.zip"}]
    add(router, "GET", "/datasets", list_datasets)
    add(router, "POST", "/datasets/check", check_dataset, documented(_CHECK_FIELDS, ["folder"], _EXAMPLE))
    add(router, "POST", "/datasets/create", create_dataset, documented(named, ["name"], {"name": "my-cat", "files": files}))
    add(router, "POST", "/datasets/add", add_files, documented(_ADD_FIELDS, ["folder", "files"], {**_EXAMPLE, "files": files}))
    _add_images(router, services)
    _add_captions(router, services)
    _add_auto_captions(router, services)


def _add_images(router: APIRouter, services: Services) -> None:
    def remove_images(values: Any = BODY) -> Response:
        """Move images with their captions and masks to the trash."""
        folder, images = _images_of(values)
        return answer({"moved": services.datasets.remove(folder, images)})

    def list_removed(values: Any = BODY) -> Response:
        """List what was removed from a dataset, newest first."""
        check_fields(values, _EXAMPLE)
        return answer(services.datasets.removed(text_field(values, "folder")))

    def restore_images(values: Any = BODY) -> Response:
        """Bring removed images back: those of an item by its id, or of the newest."""
        check_fields(values, {"folder": {}, "item": {}})
        return answer({"restored": services.datasets.restore(text_field(values, "folder"), text_field(values, "item", "")).files})

    def delete_dataset(values: Any = BODY) -> Response:
        """Move a whole dataset of the data folder to the trash."""
        check_fields(values, _EXAMPLE)
        return answer({"deleted": services.datasets.delete(text_field(values, "folder"))})

    def list_deleted() -> Response:
        """List the datasets that were deleted as a whole, newest first."""
        return answer(services.datasets.deleted())

    def undelete_dataset(values: Any = BODY_IF_ANY) -> Response:
        """Bring a deleted dataset back: an item of the list by its id, or the newest."""
        check_fields(values, {"item": {}})
        return answer({"restored": services.datasets.undelete(text_field(values, "item", ""))})

    def exclude_images(values: Any = BODY) -> Response:
        """Exclude images from training without deleting them."""
        folder, images = _images_of(values)
        return answer({"excluded": services.datasets.exclude(folder, images)})

    def include_images(values: Any = BODY) -> Response:
        """Use excluded images again."""
        folder, images = _images_of(values)
        return answer({"included": services.datasets.exclude(folder, images, excluded=False)})

    images = documented({"folder": _FOLDER, "images": _IMAGES}, ["folder", "images"], {**_EXAMPLE, "images": ["01.png"]})
    folder = documented({"folder": _FOLDER}, ["folder"], _EXAMPLE)
    item = {"folder": _FOLDER, "item": {"type": "string", "description": "An item of the list; by default the newest."}}
    add(router, "POST", "/datasets/remove", remove_images, images)
    add(router, "POST", "/datasets/removed", list_removed, folder)
    add(router, "POST", "/datasets/restore", restore_images, documented(item, ["folder"], _EXAMPLE))
    add(router, "POST", "/datasets/delete", delete_dataset, folder)
    add(router, "GET", "/datasets/deleted", list_deleted)
    add(router, "POST", "/datasets/undelete", undelete_dataset, documented({"item": item["item"]}, [], {}))
    add(router, "POST", "/datasets/exclude", exclude_images, images)
    add(router, "POST", "/datasets/include", include_images, images)


def _add_captions(router: APIRouter, services: Services) -> None:
    def get_captions(values: Any = BODY) -> Response:
        """Get the captions of images with their numbers of tokens, by default of all."""
        check_fields(values, {"folder": {}, "images": {}})
        return answer(services.datasets.captions(text_field(values, "folder"), texts_field(values, "images")))

    def change_captions(values: Any = BODY) -> Response:
        """Write the caption of an image, or change many: prefix, suffix, find and replace, remove a tag. It can be undone."""
        check_fields(values, _EDIT_FIELDS)
        folder, names = text_field(values, "folder"), texts_field(values, "images")
        if "caption" in values:
            name = names[0] if len(names) == 1 else ""
            return answer(services.datasets.write_caption(folder, name, text_field(values, "caption")))
        edit = CaptionEdit(*(text_field(values, field, "") for field in ("remove_tag", "find", "replace", "prefix", "suffix")))
        return answer(services.datasets.edit_captions(folder, edit, names, flag_field(values, "create")))

    def undo_captions(values: Any = BODY) -> Response:
        """Undo the last change of captions."""
        check_fields(values, _EXAMPLE)
        return answer(services.datasets.undo_captions(text_field(values, "folder")))

    def list_tags(values: Any = BODY) -> Response:
        """List the tags of all captions, the most frequent first, with the number of images that have each."""
        check_fields(values, _EXAMPLE)
        return answer([{"tag": tag, "images": number} for tag, number in services.datasets.tags(text_field(values, "folder"))])

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


def _add_auto_captions(router: APIRouter, services: Services) -> None:
    def list_interrogators() -> Response:
        """List the host's interrogators, which describe images, with the reason why one cannot be used."""
        found = services.host.interrogators()
        return answer([{"name": one.name, "label": one.label, "problem": one.problem or None} for one in found])

    def generate_captions(values: Any = BODY) -> Response:
        """Start a job that generates captions, by an interrogator of the host or the caption model of a folder."""
        check_fields(values, _GENERATE_FIELDS)
        folder, names = text_field(values, "folder"), texts_field(values, "images")
        model = text_field(values, "model_folder", "")
        request = CaptionRequest(
            text_field(values, "interrogator", ""),
            typed_path(model) if model else None,
            cast("Existing", text_field(values, "existing", "keep")),
            text_field(values, "prefix", ""),
            CaptionOptions(
                threshold=number_field(values, "threshold", CaptionOptions.threshold),
                character_threshold=number_field(values, "character_threshold", CaptionOptions.character_threshold),
            ),
        )
        return answer(services.datasets.generate_captions(folder, request, names))

    def get_caption_job() -> Response:
        """Get the state of the job that generates captions; null before the first one."""
        return answer(services.datasets.auto_captions.job)

    def stop_caption_job() -> Response:
        """Stop the job that generates captions. Captions that were generated are kept."""
        return answer(services.datasets.auto_captions.stop())

    example = {**_EXAMPLE, "interrogator": "deepbooru", "prefix": "my-cat, "}
    add(router, "GET", "/datasets/interrogators", list_interrogators)
    add(router, "POST", "/datasets/captions/generate", generate_captions, documented(_GENERATE_FIELDS, ["folder"], example))
    add(router, "GET", "/datasets/captions/job", get_caption_job)
    add(router, "POST", "/datasets/captions/stop", stop_caption_job)


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
    return text_field(values, "folder"), texts_field(values, "images")


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
            target.write_bytes(content_field(known, "content"))
            uploads.append(Upload(text_field(known, "name"), target))
        yield uploads
