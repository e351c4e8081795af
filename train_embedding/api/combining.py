"""Routes that merge and convert embeddings."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter
from fastapi.responses import Response

from train_embedding.api.bodies import BODY, answer, check_fields, documented, flag_field, text_field
from train_embedding.api.routing import add
from train_embedding.errors import InvalidInput
from train_embedding.images.png import encode_png
from train_embedding.messages import msg
from train_embedding.services.combining import CONVERTIBLE_FORMATS, SDXL, UNNAMED
from train_embedding.services.json_values import to_json

if TYPE_CHECKING:
    from train_embedding.services import Services

_MERGE_FIELDS: dict[str, dict[str, Any]] = {
    "expression": {"description": "The formula. Write names of embeddings bare or in single quotes, and words in double quotes."},
    "name": {"description": "Name of the new embedding; optional in a dry run.", "default": ""},
    "overwrite": {"description": "Replace an embedding of this name; the old file goes to the trash.", "default": False},
    "dry_run": {"description": "Compute the result without saving it.", "default": False},
    "preview_prompt": {
        "description": "Generate an image with this prompt, in which [name] stands for the result; empty for no image.",
        "default": "",
    },
    "top": {"description": "Number of nearest tokens per vector, 0 to 100.", "default": 10},
}
_MERGE_EXAMPLE = {"expression": 'my-cat + 0.5 * "red"', "name": "my-red-cat"}
_CONVERT_FIELDS: dict[str, dict[str, Any]] = {
    "to": {
        "description": "File format, or sdxl for an approximate SDXL version of an SD1 embedding.",
        "enum": [*CONVERTIBLE_FORMATS, SDXL],
    },
    "name": {"description": "Name of the result; by default the same name, or NAME-sdxl for sdxl.", "default": ""},
    "overwrite": {"description": "Replace an embedding of this name; the old file goes to the trash.", "default": False},
}


def add_combining(router: APIRouter, services: Services) -> None:
    """Add the routes to a router."""

    def merge(values: Any = BODY) -> Response:
        """Compute a formula over embeddings and words, and save the result. Returns the report about its vectors, with
        `made_from`, `notes`, `entry` (null in a dry run) and `image` (a PNG in base64, or null)."""
        check_fields(values, _MERGE_FIELDS)
        expression, dry = text_field(values, "expression"), flag_field(values, "dry_run")
        overwrite, prompt = flag_field(values, "overwrite"), text_field(values, "preview_prompt", "")
        name = text_field(values, "name", "")
        if not name and not dry:
            raise InvalidInput(
                msg('The field "{name}" is missing.', name="name"), msg('Name the new embedding, or set "dry_run".')
            )
        if not dry:
            services.combining.check_free(name, overwrite)
        combined = services.combining.evaluate(expression, name or UNNAMED)
        report = services.inspection.report_of(combined.embedding, values.get("top", 10))
        image = encode_png(services.combining.draw(combined.embedding, prompt)) if prompt else None
        saved = None if dry else services.combining.keep(combined, overwrite)
        result = {
            "made_from": combined.how,
            "notes": combined.notes if saved is None else saved.notes,
            "entry": None if saved is None else saved.entry,
            "image": None if image is None else base64.b64encode(image).decode(),
        }
        return answer({**to_json(report), **result})

    def convert(name: str, values: Any = BODY) -> Response:
        """Save an embedding in another file format, or make an approximate SDXL version of an SD1 embedding."""
        check_fields(values, _CONVERT_FIELDS)
        to, new_name = text_field(values, "to"), text_field(values, "name", "")
        saved = services.combining.convert(name, to, new_name, flag_field(values, "overwrite"))
        return answer({**to_json(saved.entry), "notes": saved.notes})

    add(router, "POST", "/embeddings/merge", merge, documented(_MERGE_FIELDS, ["expression"], _MERGE_EXAMPLE))
    add(router, "POST", "/embeddings/{name}/convert", convert, documented(_CONVERT_FIELDS, ["to"], {"to": "safetensors"}))
