"""The routes that make embeddings of others."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter
from fastapi.responses import Response

from train_embedding.api.bodies import BODY, answer, check_fields, documented, flag_field, text_field
from train_embedding.api.routing import add
from train_embedding.errors import InvalidInput
from train_embedding.images.png import encode_png
from train_embedding.services.combining import CONVERTIBLE_FORMATS, SDXL, UNNAMED
from train_embedding.services.json_values import to_json

if TYPE_CHECKING:
    from train_embedding.services import Services

_MERGE_FIELDS: dict[str, dict[str, Any]] = {
    "expression": {"description": "The formula; embeddings bare or in single quotes, words in double quotes."},
    "name": {"description": "Of the new embedding; may be missing in a dry run.", "default": ""},
    "overwrite": {"description": "Replace an embedding of that name; the old file goes to the trash folder.", "default": False},
    "dry_run": {"description": "Compute and show the result, and save nothing.", "default": False},
    "preview_prompt": {
        "description": "Draw a picture with the result, which then stands for [name] in this prompt; empty for none.",
        "default": "",
    },
    "top": {"description": "Nearest tokens per vector, 0 to 100.", "default": 10},
}
_MERGE_EXAMPLE = {"expression": 'my-cat + 0.5 * "red"', "name": "my-red-cat"}
_CONVERT_FIELDS: dict[str, dict[str, Any]] = {
    "to": {"description": "The form of the file, or sdxl.", "enum": [*CONVERTIBLE_FORMATS, SDXL]},
    "name": {"description": "Of the result; empty for the same, or NAME-sdxl.", "default": ""},
    "overwrite": {"description": "Replace an embedding of that name; the old file goes to the trash folder.", "default": False},
}


def add_combining(router: APIRouter, services: Services) -> None:
    def merge(values: Any = BODY) -> Response:
        """Computes a formula over embeddings and words, and saves the result. Answers what looking inside it would, with
        `made_from`, `notes`, `entry` (null in a dry run) and `picture` (base64 of a PNG, null where none was asked for)."""
        check_fields(values, _MERGE_FIELDS)
        expression, dry = text_field(values, "expression"), flag_field(values, "dry_run")
        overwrite, prompt = flag_field(values, "overwrite"), text_field(values, "preview_prompt", "")
        name = text_field(values, "name", "")
        if not name and not dry:
            raise InvalidInput('The field "name" is missing.', "Give one, or ask for a dry run.")
        if not dry:
            services.combining.check_free(name, overwrite)
        combined = services.combining.evaluate(expression, name or UNNAMED)
        report = services.inspection.report_of(combined.embedding, values.get("top", 10))
        picture = encode_png(services.combining.draw(combined.embedding, prompt)) if prompt else None
        saved = None if dry else services.combining.keep(combined, overwrite)
        result = {
            "made_from": combined.how,
            "notes": combined.notes if saved is None else saved.notes,
            "entry": None if saved is None else saved.entry,
            "image": None if picture is None else base64.b64encode(picture).decode(),
        }
        return answer({**to_json(report), **result})

    def convert(name: str, values: Any = BODY) -> Response:
        """Writes an embedding in another form of file, or makes one for SDXL of one for SD1, approximately."""
        check_fields(values, _CONVERT_FIELDS)
        to, new_name = text_field(values, "to"), text_field(values, "name", "")
        saved = services.combining.convert(name, to, new_name, flag_field(values, "overwrite"))
        return answer({**to_json(saved.entry), "notes": saved.notes})

    add(router, "POST", "/embeddings/merge", merge, documented(_MERGE_FIELDS, ["expression"], _MERGE_EXAMPLE))
    add(router, "POST", "/embeddings/{name}/convert", convert, documented(_CONVERT_FIELDS, ["to"], {"to": "safetensors"}))
