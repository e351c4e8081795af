"""The routes about looking after a collection: renaming, notes, previews, importing, the trash."""

from __future__ import annotations

import base64
import binascii
import mimetypes
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

from fastapi import APIRouter, Query
from fastapi.responses import Response

from train_embedding.api.bodies import BODY, answer, body_of, check_fields, documented, flag_field, short, text_field
from train_embedding.api.routing import add
from train_embedding.errors import InvalidInput
from train_embedding.services.formats import SUFFIXES
from train_embedding.services.library import PROGRAMS
from train_embedding.services.sidecars import NOTE_FIELDS, read_preview
from train_embedding.services.typed_paths import typed_path

if TYPE_CHECKING:
    from train_embedding.services import Services

MAX_UPLOAD = 24 * 2**20
"Bytes of a request that brings files: base64 takes a third more than the file."
UPLOAD: Any = body_of(MAX_UPLOAD)

_WHICH = Query("", description="Of several files with that name, the one at this path below the embeddings folder.")
_PERMANENTLY = Query(False, description="Deletes it at once instead; nothing can bring it back.")
_FORM = Query("", alias="format", description=f"One of {', '.join(SUFFIXES)}; as it is where none is given.")
_FOR = Query("", alias="for", description=f"A program to choose the format and a name for, one of {', '.join(PROGRAMS)}.")
_PATCH_FIELDS: dict[str, dict[str, Any]] = {
    "name": {"description": "The new name."},
    **{field.name: {"description": f"{field.label}. {field.help}"} for field in NOTE_FIELDS},
}
_FILE_FIELDS: dict[str, dict[str, Any]] = {
    "path": {"description": "A file on the server."},
    "name": {"description": "The name of a file that is uploaded."},
    "content": {"description": "Its bytes in base64."},
}
_IMPORT_FIELDS: dict[str, dict[str, Any]] = {
    **_FILE_FIELDS,
    "files": {"description": "Several of such objects at once.", "type": "array"},
    "overwrite": {"description": "Replace embeddings of the same names; the old files go to the trash.", "default": False},
    "folder": {"description": "Where to put them, below the embeddings folder.", "default": ""},
    "as": {"description": "What to call the one embedding that is imported; left out, as its file is called.", "default": ""},
}
_PREVIEW_FIELDS: dict[str, dict[str, Any]] = {
    "content": {"description": "The bytes of a PNG, JPEG, WebP or GIF in base64."},
    "run": {"description": "The id of a run, whose newest preview is taken."},
    "prompt": {"description": "A prompt to draw, in which [name] is the embedding."},
}


def add_library(router: APIRouter, services: Services) -> None:
    library = services.library

    def change_embedding(name: str, values: Any = BODY, file: str = _WHICH) -> Response:
        """Renames an embedding, or changes its notes, or both. Keys of other programs in its file of notes stay as they are."""
        check_fields(values, _PATCH_FIELDS)
        notes = {field: value for field, value in values.items() if field != "name"}
        new_name = text_field(values, "name") if "name" in values else None
        return answer(library.change(name, file, new_name=new_name, notes=notes))

    def copy_embedding(name: str, values: Any = BODY, file: str = _WHICH) -> Response:
        """Copies an embedding, with all that belongs to it, to a new name."""
        check_fields(values, {"name": {}})
        return answer(library.copy(name, text_field(values, "name"), file))

    def sanitize_embedding(name: str, file: str = _WHICH) -> Response:
        """Replaces an unsafe file with one that holds its vectors only; the old file goes to the trash."""
        return answer(library.sanitize(name, file))

    def delete_embedding(name: str, file: str = _WHICH, permanently: bool = _PERMANENTLY) -> Response:
        """Puts an embedding, with all that belongs to it, into the trash, or deletes it permanently."""
        library.delete(name, file, permanently)
        return answer({"deleted": name})

    def import_embeddings(values: Any = UPLOAD) -> Response:
        """Puts files into the library, from the server's disk or uploaded; tells of each what became of it."""
        check_fields(values, _IMPORT_FIELDS)
        sources = [_source(one) for one in _file_objects(values)]
        folder, name = text_field(values, "folder", ""), text_field(values, "as", "")
        done = library.import_files(sources, flag_field(values, "overwrite"), folder, name)
        return answer(done)

    def get_file(name: str, form: str = _FORM, suffix: str = "", program: str = _FOR, file: str = _WHICH) -> Response:
        """The file of an embedding, as it is, in another format, or as another program reads it.

        For a program, the header X-Trigger tells what calls the embedding in its prompts, and X-Usage what to do with the file,
        both percent-encoded.
        """
        made = library.export(name, form, suffix, file, program)
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
    """For a header, which holds ASCII only."""
    return quote(text.encode("utf-8", "replace"), safe="")


def _add_previews(router: APIRouter, services: Services) -> None:
    library = services.library

    def get_preview(name: str, file: str = _WHICH) -> Response:
        """The preview picture."""
        path = library.preview(name, file)
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        return Response(read_preview(path), media_type=kind, headers={"X-Content-Type-Options": "nosniff"})

    def put_preview(name: str, values: Any = UPLOAD, file: str = _WHICH) -> Response:
        """Gives an embedding a preview: a picture that is sent, the newest preview of a run, or one that is drawn now."""
        check_fields(values, _PREVIEW_FIELDS)
        if len(values) != 1:
            raise InvalidInput("A preview comes from one place.", f"Give one of {', '.join(_PREVIEW_FIELDS)}.")
        if "content" in values:
            entry = library.set_preview(name, _decoded(values), file)
        elif "run" in values:
            entry = library.preview_from_run(name, text_field(values, "run"), file)
        else:
            entry = library.draw_preview(name, text_field(values, "prompt"), file)
        return answer(entry)

    add(router, "GET", "/embeddings/{name}/preview", get_preview)
    documentation = documented(_PREVIEW_FIELDS, [], {"prompt": "a photo of [name]"})
    add(router, "PUT", "/embeddings/{name}/preview", put_preview, documentation)


def _add_trash(router: APIRouter, services: Services) -> None:
    library = services.library

    def list_trash() -> Response:
        """What was deleted or overwritten, the newest first."""
        return answer(library.trashed())

    def restore(trash_id: str) -> Response:
        """Puts an item of the trash back to where it was."""
        return answer(library.restore(trash_id))

    def empty_trash() -> Response:
        """Deletes for good what lies in the trash."""
        return answer({"deleted": library.empty_trash()})

    add(router, "GET", "/trash", list_trash)
    add(router, "POST", "/trash/{trash_id}/restore", restore)
    add(router, "DELETE", "/trash", empty_trash)


def _file_objects(values: dict[str, Any]) -> list[dict[str, Any]]:
    if "files" not in values:
        return [{field: value for field, value in values.items() if field in _FILE_FIELDS}]
    given: object = values["files"]
    files = cast("list[Any]", given) if isinstance(given, list) else []
    if set(values) & set(_FILE_FIELDS) or files != given or not all(isinstance(file, dict) for file in files):
        raise InvalidInput(f'"files" is {short(given)}; it must be a list of objects with {", ".join(_FILE_FIELDS)}.')
    for file in files:
        check_fields(file, _FILE_FIELDS)
    return files


def _source(values: dict[str, Any]) -> Path | tuple[str, bytes]:
    if "path" in values and len(values) == 1:
        return typed_path(text_field(values, "path"))
    if set(values) == {"name", "content"}:
        return text_field(values, "name"), _decoded(values)
    raise InvalidInput("A file to import has a path, or a name and its content.", "Send one or the other.")


def _decoded(values: dict[str, Any]) -> bytes:
    try:
        return base64.b64decode(text_field(values, "content"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidInput(f'"content" is not base64: {error}.') from error
