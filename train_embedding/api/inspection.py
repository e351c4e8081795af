"""Routes that inspect embeddings and prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter
from fastapi.responses import Response

from train_embedding.api.bodies import BODY, answer, check_fields, documented, flag_field, text_field
from train_embedding.api.routing import add
from train_embedding.images.png import encode_png

if TYPE_CHECKING:
    from train_embedding.services import Services

_TOKENS_FIELDS: dict[str, dict[str, Any]] = {
    "prompt": {"description": "The prompt, as you type it into the WebUI."},
    "negative": {"description": "Whether it is a negative prompt, in which AND is a plain word.", "default": False},
    "step": {"description": "Sampling step to show, for [a:b:10] and [a|b].", "default": 1},
    "steps": {"description": "Number of sampling steps.", "default": 20},
}


def add_inspection(router: APIRouter, services: Services) -> None:
    """Add the routes to a router."""

    def inspect_embedding(name: str, top: str = "10", text: str = "", neighbours: str = "0") -> Response:
        """Inspect an embedding: the norm and the nearest tokens of each vector, for each text encoder; the cosine with `text`, by
        default the initialization text; the cosine between vectors; and the nearest embeddings, if `neighbours` is not 0."""
        report = services.inspection.inspect(name, _whole_number(top), text, _whole_number(neighbours))
        return answer(report)

    def similarity(name: str) -> Response:
        """Get a heat map of the cosine between vectors as a PNG, with a square for each text encoder."""
        image = services.inspection.heat_map(services.inspection.inspect(name, 0))
        return Response(encode_png(image), media_type="image/png")

    def tokens(values: Any = BODY) -> Response:
        """Show how the WebUI splits a prompt into tokens and chunks, which parts are embeddings, and how many tokens are left."""
        check_fields(values, _TOKENS_FIELDS)
        prompt, negative = text_field(values, "prompt"), flag_field(values, "negative")
        read = services.inspection.tokenize(prompt, negative, values.get("step", 1), values.get("steps", 20))
        return answer(read)

    add(router, "GET", "/embeddings/{name}", inspect_embedding)
    add(router, "GET", "/embeddings/{name}/similarity.png", similarity)
    add(router, "POST", "/tokens", tokens, documented(_TOKENS_FIELDS, ["prompt"], {"prompt": "a (photo:1.2) of my-cat"}))


def _whole_number(text: str) -> Any:
    """Return the number, or the text itself, which the service refuses with an error message."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else text
