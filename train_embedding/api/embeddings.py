"""Routes that list and create embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter
from fastapi.responses import Response

from train_embedding.api.bodies import BODY, answer, check_fields, documented, flag_field, short, text_field
from train_embedding.api.routing import add
from train_embedding.errors import InvalidInput
from train_embedding.messages import msg
from train_embedding.services.json_values import to_json
from train_embedding.services.library import STARTS

if TYPE_CHECKING:
    from train_embedding.services import Services

SUFFIXES = {"pt": ".pt", "safetensors": ".safetensors"}
"File formats of new embeddings, and their suffixes."
_FORMATS = ", ".join(SUFFIXES)
_CREATE_FIELDS: dict[str, dict[str, Any]] = {
    "name": {"description": "The trigger word, which is also the name of the file."},
    "init_text": {"description": "Initialization text. If it is empty, the vectors are zeros.", "default": ""},
    "vectors": {
        "description": 'Number of vectors, 1 to 75, or "auto" for 2, or one per token of a longer text.',
        "default": "auto",
    },
    "start": {
        "description": "Start from the token embeddings of init_text, from the text encoder's output for it (Cross "
        "Initialization), or from the vectors of the embedding that init_text names.",
        "enum": list(STARTS),
        "default": STARTS[0],
    },
    "overwrite": {"description": "Replace an embedding of this name; the old file goes to the trash.", "default": False},
    "format": {"description": "File format; by default pt, or safetensors in SD.Next.", "enum": list(SUFFIXES)},
}
_CREATE_EXAMPLE = {"name": "my-cat", "init_text": "cat", "vectors": 4}


def add_embeddings(router: APIRouter, services: Services) -> None:
    """Add the routes to a router."""

    def list_embeddings() -> Response:
        """List all embedding files: name, family, vectors, step, checkpoint, file, and whether it is loaded, or why not."""
        return answer(services.library.list())

    def create_embedding(values: Any = BODY) -> Response:
        """Create an embedding from a text or from another embedding."""
        check_fields(values, _CREATE_FIELDS)
        file_format = values.get("format")
        if file_format is not None and (not isinstance(file_format, str) or file_format not in SUFFIXES):
            raise InvalidInput(
                msg(
                    '"{name}" is {value}; it must be one of {choices}.', name="format", value=short(file_format), choices=_FORMATS
                )
            )
        created = services.library.create(
            text_field(values, "name"),
            text_field(values, "init_text", ""),
            values.get("vectors", "auto"),
            flag_field(values, "overwrite"),
            SUFFIXES[file_format] if file_format else "",
            text_field(values, "start", STARTS[0]),
        )
        return answer({**to_json(created.entry), "tokens": created.tokens, "notes": created.notes})

    add(router, "GET", "/embeddings", list_embeddings)
    add(router, "POST", "/embeddings", create_embedding, documented(_CREATE_FIELDS, ["name"], _CREATE_EXAMPLE))
