"""The routes about what is in an embedding or a prompt."""

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
    "prompt": {"description": "As it is typed into the WebUI."},
    "negative": {"description": "Whether it is a negative prompt, in which AND is a word.", "default": False},
    "step": {"description": "The step at which to look, for [a:b:10] and [a|b].", "default": 1},
    "steps": {"description": "Steps in all.", "default": 20},
}


def add_inspection(router: APIRouter, services: Services) -> None:
    def inspect_embedding(name: str, top: str = "10", text: str = "", neighbours: str = "0") -> Response:
        """Looks inside: per text encoder and vector the norm beside the vocabulary's, the nearest tokens, the cosine with `text`
        or else with what it was made from; the similarity between vectors; as many of the nearest embeddings as `neighbours`."""
        report = services.inspection.inspect(name, _whole_number(top), text, _whole_number(neighbours))
        return answer(report)

    def similarity(name: str) -> Response:
        """The similarity between the vectors as a picture, a square per text encoder."""
        picture = services.inspection.picture(services.inspection.inspect(name, 0))
        return Response(encode_png(picture), media_type="image/png")

    def tokens(values: Any = BODY) -> Response:
        """How the WebUI splits a prompt into tokens and chunks of 75, which parts are embeddings, and how many tokens remain."""
        check_fields(values, _TOKENS_FIELDS)
        prompt, negative = text_field(values, "prompt"), flag_field(values, "negative")
        read = services.inspection.tokenize(prompt, negative, values.get("step", 1), values.get("steps", 20))
        return answer(read)

    add(router, "GET", "/embeddings/{name}", inspect_embedding)
    add(router, "GET", "/embeddings/{name}/similarity.png", similarity)
    add(router, "POST", "/tokens", tokens, documented(_TOKENS_FIELDS, ["prompt"], {"prompt": "a (photo:1.2) of my-cat"}))


def _whole_number(text: str) -> Any:
    """The number, or the text itself, which the service then refuses in words."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else text
