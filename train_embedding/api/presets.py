"""Routes for presets of one's own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

from fastapi import APIRouter
from fastapi.responses import Response

from train_embedding.api.bodies import BODY, answer, check_fields, documented, flag_field, short, text_field
from train_embedding.api.routing import add
from train_embedding.errors import InvalidInput
from train_embedding.messages import msg

if TYPE_CHECKING:
    from train_embedding.services import Services

_NAME: dict[str, Any] = {"type": "string", "description": "The name of the preset."}
_OVERWRITE: dict[str, Any] = {
    "type": "boolean",
    "default": False,
    "description": "Replace a preset of that name, which goes to the trash.",
}
_SAVE_FIELDS: dict[str, dict[str, Any]] = {
    "name": _NAME,
    "options": {
        "type": "object",
        "description": "Options as for `POST /runs`. `preset` says which one the others are based on. The embedding, the "
        "dataset, the prompt to pack and candidate words are not saved.",
    },
    "run": {"type": "string", "description": "The id of a training run, whose options are saved; instead of `options`."},
    "description": {"type": "string", "description": "What the preset is for."},
    "overwrite": _OVERWRITE,
}
_RENAME_FIELDS: dict[str, dict[str, Any]] = {"name": {"type": "string", "description": "The new name."}}
_IMPORT_FIELDS: dict[str, dict[str, Any]] = {
    "preset": {"type": "object", "description": "The content of the file: what `GET /presets/{name}` returns."},
    "name": {"type": "string", "default": "", "description": "The new name; by default the one in the file."},
    "overwrite": _OVERWRITE,
}


def add_presets(router: APIRouter, services: Services) -> None:
    """Add the routes to a router."""
    presets = services.presets

    def list_presets() -> Response:
        """List your presets: `options` has what differs from the built-in preset that `based_on` names."""
        return answer(presets.list())

    def save_preset(values: Any = BODY) -> Response:
        """Save options of a training run, or those of an earlier run, as a preset. `POST /runs` then takes its name as
        `preset`."""
        check_fields(values, _SAVE_FIELDS)
        if ("run" in values) == ("options" in values):
            raise InvalidInput(msg("A preset needs either options or a run."), msg('Send either "options" or "run".'))
        run = services.runs.get(text_field(values, "run")) if "run" in values else None
        options = _object_field(values, "options") if run is None else run.spec.to_json()
        description = text_field(values, "description") if "description" in values else None
        return answer(presets.save(text_field(values, "name"), options, description, flag_field(values, "overwrite")))

    def get_preset(name: str) -> Response:
        """Get one of your presets. The answer is also the file that others can import."""
        return answer(presets.get(name))

    def rename_preset(name: str, values: Any = BODY) -> Response:
        """Rename one of your presets."""
        check_fields(values, _RENAME_FIELDS)
        return answer(presets.rename(name, text_field(values, "name")))

    def delete_preset(name: str) -> Response:
        """Move one of your presets to the trash. Returns the id by which it can be restored."""
        return answer({"deleted": name, "trash_id": presets.delete(name)})

    def import_preset(values: Any = BODY) -> Response:
        """Import a preset. Unknown options and values out of bounds are refused; nothing in it is executed."""
        check_fields(values, _IMPORT_FIELDS)
        data = json.dumps(_object_field(values, "preset")).encode()
        return answer(presets.import_file(data, text_field(values, "name", ""), flag_field(values, "overwrite")))

    def restore_preset(trash_id: str) -> Response:
        """Move a preset back from the trash."""
        return answer(presets.restore(trash_id))

    saved = {"name": "my style", "options": {"preset": "Quality", "steps": 300}}
    passed_on = {"preset": {"train_embedding_preset": 1, "name": "my style", "based_on": "Quality", "options": {"steps": 300}}}
    add(router, "GET", "/presets", list_presets)
    add(router, "POST", "/presets", save_preset, documented(_SAVE_FIELDS, ["name"], saved))
    add(router, "POST", "/presets/import", import_preset, documented(_IMPORT_FIELDS, ["preset"], passed_on))
    add(router, "POST", "/presets/trash/{trash_id}/restore", restore_preset)
    add(router, "GET", "/presets/{name}", get_preset)
    add(router, "PATCH", "/presets/{name}", rename_preset, documented(_RENAME_FIELDS, ["name"], {"name": "pencil"}))
    add(router, "DELETE", "/presets/{name}", delete_preset)


def _object_field(values: dict[str, Any], name: str) -> dict[str, Any]:
    value: object = values.get(name)
    if not isinstance(value, dict):
        raise InvalidInput(msg('"{name}" is {value}; it must be an object.', name=name, value=short(value)))
    return cast("dict[str, Any]", value)
