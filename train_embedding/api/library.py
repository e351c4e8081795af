"""Routes that manage the library: rename, copy, delete, notes, previews, import, export and the trash."""

from __future__ import annotations

import base64
import binascii
import mimetypes
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

from fastapi import APIRouter, Query
from fastapi.responses import Response

from train_embedding.api.bodies import BODY, BODY_IF_ANY, answer, body_of, check_fields, documented, flag_field, short, text_field
from train_embedding.api.routing import add
from train_embedding.errors import InvalidInput, NameTaken
from train_embedding.messages import msg, verbatim
from train_embedding.services.formats import SUFFIXES
from train_embedding.services.library import PROGRAMS
from train_embedding.services.sidecars import NOTE_FIELDS, read_preview
from train_embedding.services.typed_paths import typed_path

if TYPE_CHECKING:
    from train_embedding.services import Services

MAX_UPLOAD = 24 * 2**20
"Largest body of a request with files, in bytes. Base64 takes a third more than the files."
UPLOAD: Any = body_of(MAX_UPLOAD)

_WHICH = Query("", description="If several files have this name, the path of the one to use, relative to the embeddings folder.")
_PERMANENTLY = Query(
    False, description="Delete the embedding immediately instead of moving it to the trash; this cannot be undone."
)
_FORMAT = Query("", alias="format", description=f"File format: {', '.join(SUFFIXES)}. By default the file is unchanged.")
_FOR = Query(
    "",
    alias="for",
    description=f"Choose a format and a file name that this program reads: {', '.join(PROGRAMS)}. Or `civitai` for a zip "
    "archive with files, previews and texts for a page there, `card` for an image that shows and contains the embedding.",
)
_LICENSE = Query("", description="The license that the texts for `civitai` state.")
_PATCH_FIELDS: dict[str, dict[str, Any]] = {
    "name": {"description": "The new name."},
    **{field.name: {"description": f"{field.label}. {field.help}"} for field in NOTE_FIELDS},
}
_FILE_FIELDS: dict[str, dict[str, Any]] = {
    "path": {"description": "Path of a file on the server."},
    "name": {"description": "Name of an uploaded file."},
    "content": {"description": "Content of the uploaded file in base64."},
}
_FIELDS = ", ".join(_FILE_FIELDS)
_IMPORT_FIELDS: dict[str, dict[str, Any]] = {
    **_FILE_FIELDS,
    "files": {"description": "Several files: a list of objects with `path`, or with `name` and `content`.", "type": "array"},
    "overwrite": {"description": "Replace embeddings of the same name; the old files go to the trash.", "default": False},
    "folder": {"description": "Subfolder of the embeddings folder to import into.", "default": ""},
    "as": {"description": "Name of the imported embedding; by default the name of its file.", "default": ""},
}
_RESTORE_FIELDS: dict[str, dict[str, Any]] = {
    "as": {"description": "A new name for the embedding; by default its old name."},
    "replace": {"description": "Replace an embedding that has the name now; it goes to the trash.", "default": False},
}
_PREVIEW_FIELDS: dict[str, dict[str, Any]] = {
    "content": {"description": "A PNG, JPEG, WebP or GIF file in base64."},
    "run": {"description": "The id of a training run, whose newest preview is used."},
    "prompt": {"description": "A prompt to generate the preview with; [name] stands for the embedding."},
}


def add_library(router: APIRouter, services: Services) -> None:
    """Add the routes to a router."""

    def change_embedding(name: str, values: Any = BODY, file: str = _WHICH) -> Response:
        """Rename an embedding, change its notes, or both. Values of other programs in the notes file are kept."""
        check_fields(values, _PATCH_FIELDS)
        notes = {field: value for field, value in values.items() if field != "name"}
        new_name = text_field(values, "name") if "name" in values else None
        return answer(services.library.change(name, file, new_name=new_name, notes=notes))

    def copy_embedding(name: str, values: Any = BODY, file: str = _WHICH) -> Response:
        """Copy an embedding together with its preview, notes and other files that belong to it."""
        check_fields(values, {"name": {}})
        return answer(services.library.copy(name, text_field(values, "name"), file))

    def sanitize_embedding(name: str, file: str = _WHICH) -> Response:
        """Replace an unsafe file with one that contains only its vectors; the old file goes to the trash."""
        return answer(services.library.sanitize(name, file))

    def delete_embedding(name: str, file: str = _WHICH, permanently: bool = _PERMANENTLY) -> Response:
        """Move an embedding with all files that belong to it to the trash, or delete it permanently."""
        services.library.delete(name, file, permanently)
        return answer({"deleted": name})

    def import_embeddings(values: Any = UPLOAD) -> Response:
        """Import files from the server's disk or from the request, and return the outcome for each file."""
        check_fields(values, _IMPORT_FIELDS)
        sources = [_source(file) for file in _file_objects(values)]
        folder, name = text_field(values, "folder", ""), text_field(values, "as", "")
        done = services.library.import_files(sources, flag_field(values, "overwrite"), folder, name)
        return answer(done)

    def get_file(
        name: str,
        file_format: str = _FORMAT,
        suffix: str = "",
        program: str = _FOR,
        file: str = _WHICH,
        license: str = _LICENSE,
    ) -> Response:
        """Download an embedding: its own file, another format, a file for another program, or one to share.

        For a program or for sharing, the header X-Trigger contains the trigger for its prompts and X-Usage the instructions, both
        percent-encoded.
        """
        made = services.library.export(name, file_format, suffix, file, program, license)
        headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{_encoded(made.file_name)}"}
        if made.trigger:
            headers |= {"X-Trigger": _encoded(made.trigger), "X-Usage": _encoded(made.usage)}
        return Response(made.data, media_type="application/octet-stream", headers=headers)

    _add_previews(router, services)
    _add_trash(router, services)
    add(router, "PATCH", "/embeddings/{name}", change_embedding, documented(_PATCH_FIELDS, [], {"name": "my-cat-2"}))
    add(router, "DELETE", "/embeddings/{name}", delete_embedding)
    add(router, "POST", "/embeddings/{name}/copy", copy_embedding, documented({"name": {}}, ["name"], {"name": "my-cat-2"}))
    add(router, "POST", "/embeddings/{name}/sanitize", sanitize_embedding)
    add(router, "POST", "/embeddings/import", import_embeddings, documented(_IMPORT_FIELDS, [], {"path": "/home/me/my-cat.pt"}))
    add(router, "GET", "/embeddings/{name}/file", get_file)


def _encoded(text: str) -> str:
    """Percent-encode a text for a header, which holds ASCII only."""
    return quote(text.encode("utf-8", "replace"), safe="")


def _add_previews(router: APIRouter, services: Services) -> None:
    def get_preview(name: str, file: str = _WHICH) -> Response:
        """Get the preview image."""
        path = services.library.preview(name, file)
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        return Response(read_preview(path), media_type=kind, headers={"X-Content-Type-Options": "nosniff"})

    def put_preview(name: str, values: Any = UPLOAD, file: str = _WHICH) -> Response:
        """Set the preview image: one from the request, the newest preview of a training run, or a newly generated image."""
        check_fields(values, _PREVIEW_FIELDS)
        if len(values) != 1:
            raise InvalidInput(
                msg("A preview needs exactly one source."), msg("Send one of {names}.", names=", ".join(_PREVIEW_FIELDS))
            )
        if "content" in values:
            entry = services.library.set_preview(name, _decoded(values), file)
        elif "run" in values:
            entry = services.library.preview_from_run(name, text_field(values, "run"), file)
        else:
            entry = services.library.draw_preview(name, text_field(values, "prompt"), file)
        return answer(entry)

    add(router, "GET", "/embeddings/{name}/preview", get_preview)
    documentation = documented(_PREVIEW_FIELDS, [], {"prompt": "a photo of [name]"})
    add(router, "PUT", "/embeddings/{name}/preview", put_preview, documentation)


def _add_trash(router: APIRouter, services: Services) -> None:
    def list_trash() -> Response:
        """List deleted and overwritten embeddings, newest first."""
        return answer(services.library.trashed())

    def restore(trash_id: str, values: Any = BODY_IF_ANY) -> Response:
        """Restore an item from the trash to where it was. Refused if another embedding has its name, unless you give it another
        name or replace the present one."""
        check_fields(values, _RESTORE_FIELDS)
        try:
            name = text_field(values, "as") if "as" in values else None
            return answer(services.library.restore(trash_id, name, flag_field(values, "replace")))
        except NameTaken as error:
            raise NameTaken(error.message, msg('Send another name as "as", or "replace": true.')) from error

    def empty_trash() -> Response:
        """Delete everything in the trash permanently."""
        return answer({"deleted": services.library.empty_trash()})

    add(router, "GET", "/trash", list_trash)
    add(router, "POST", "/trash/{trash_id}/restore", restore, documented(_RESTORE_FIELDS, [], {"as": "my-cat-2"}))
    add(router, "DELETE", "/trash", empty_trash)


def _file_objects(values: dict[str, Any]) -> list[dict[str, Any]]:
    if "files" not in values:
        return [{field: value for field, value in values.items() if field in _FILE_FIELDS}]
    given: object = values["files"]
    files = cast("list[Any]", given) if isinstance(given, list) else []
    if set(values) & set(_FILE_FIELDS) or files != given or not all(isinstance(file, dict) for file in files):
        raise InvalidInput(
            msg(
                '"{name}" is {value}; it must be a list of objects with {fields}.',
                name="files",
                value=short(given),
                fields=_FIELDS,
            )
        )
    for file in files:
        check_fields(file, _FILE_FIELDS)
    return files


def _source(values: dict[str, Any]) -> Path | tuple[str, bytes]:
    if "path" in values and len(values) == 1:
        return typed_path(text_field(values, "path"))
    if set(values) == {"name", "content"}:
        return text_field(values, "name"), _decoded(values)
    raise InvalidInput(msg('A file needs either "path", or "name" and "content".'))


def _decoded(values: dict[str, Any]) -> bytes:
    try:
        return base64.b64decode(text_field(values, "content"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidInput(msg('"{name}" is not base64: {reason}.', name="content", reason=verbatim(str(error)))) from error
