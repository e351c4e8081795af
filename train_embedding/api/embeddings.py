"""The routes about embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter
from fastapi.responses import Response

from train_embedding.api.bodies import BODY, answer, check_fields, documented, flag_field, short, text_field
from train_embedding.api.routing import add
from train_embedding.errors import InvalidInput
from train_embedding.services.json_values import to_json
from train_embedding.services.library import STARTS

if TYPE_CHECKING:
    from train_embedding.services import Services

SUFFIXES = {"pt": ".pt", "safetensors": ".safetensors"}
_CREATE_FIELDS: dict[str, dict[str, Any]] = {
    "name": {"description": "The trigger word, and the file's name."},
    "init_text": {"description": "Text whose token embeddings fill the vectors; empty for zeros.", "default": ""},
    "vectors": {"description": 'How many tokens it takes, 1 to 75, or "auto" for as many as the text has.', "default": "auto"},
    "start": {
        "description": "What is taken: the text's token embeddings, what the text encoders put out for them, or the vectors of "
        "the embedding that init_text names.",
        "enum": list(STARTS),
        "default": STARTS[0],
    },
    "overwrite": {"description": "Replace an embedding of that name; the old file goes to the trash folder.", "default": False},
    "format": {"description": "Of the file.", "enum": list(SUFFIXES), "default": "pt"},
}
_CREATE_EXAMPLE = {"name": "my-cat", "init_text": "cat", "vectors": 4}


def add_embeddings(router: APIRouter, services: Services) -> None:
    def list_embeddings() -> Response:
        """Every embedding file: name, family, vectors, step, checkpoint, file, and whether it is loaded or why not."""
        return answer(services.library.list())

    def create_embedding(values: Any = BODY) -> Response:
        """Makes an embedding out of a text's token embeddings."""
        check_fields(values, _CREATE_FIELDS)
        file_format = values.get("format", "pt")
        if not isinstance(file_format, str) or file_format not in SUFFIXES:
            raise InvalidInput(f'"format" is {short(file_format)}; it must be one of {", ".join(SUFFIXES)}.')
        created = services.library.create(
            text_field(values, "name"),
            text_field(values, "init_text", ""),
            values.get("vectors", "auto"),
            flag_field(values, "overwrite"),
            SUFFIXES[file_format],
            text_field(values, "start", STARTS[0]),
        )
        return answer({**to_json(created.entry), "tokens": created.tokens, "notes": created.notes})

    add(router, "GET", "/embeddings", list_embeddings)
    add(router, "POST", "/embeddings", create_embedding, documented(_CREATE_FIELDS, ["name"], _CREATE_EXAMPLE))
