"""How a route is added: its errors in the one form that this API has, its body described by hand."""

from __future__ import annotations

import functools
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from fastapi.routing import APIRoute

from train_embedding.api.bodies import answer
from train_embedding.errors import InvalidExpression, TrainEmbeddingError, refusal_of

logger = logging.getLogger(__name__)

_ERRORS: dict[int | str, dict[str, Any]] = {
    422: {
        "description": "What is wrong, and what to do; other errors (403, 404, 409, 5xx) look the same.",
        "content": {"application/json": {"example": {"error": 'No embedding named "my-cat".', "hint": ""}}},
    }
}


class Route(APIRoute):
    """Answers our errors, and whatever went wrong inside, in the one form that this API has."""

    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # pyright: ignore[reportIncompatibleMethodOverride]
        handle = super().get_route_handler()

        async def handle_errors(request: Request) -> Response:
            try:
                return await handle(request)
            except TrainEmbeddingError as problem:
                place = {"column": problem.column} if isinstance(problem, InvalidExpression) else {}
                return answer({"error": problem.message, "hint": problem.hint, **place}, problem.http_status)

        return handle_errors


def add(router: APIRouter, method: str, path: str, endpoint: Callable[..., Response], extra: Any = None) -> None:
    """Endpoints are plain functions, which FastAPI runs in threads: they may wait for the disk or the model."""
    router.add_api_route(path, _logged(endpoint), methods=[method], responses=_ERRORS, openapi_extra=extra, response_model=None)


def _logged(endpoint: Callable[..., Response]) -> Callable[..., Response]:
    @functools.wraps(endpoint)
    def guarded(*args: Any, **kwargs: Any) -> Response:
        try:
            return endpoint(*args, **kwargs)
        except TrainEmbeddingError:
            raise
        except Exception as problem:
            logger.exception("%s failed", endpoint.__name__)
            refusal = refusal_of(problem)
            if refusal is not None:
                raise refusal from problem
            return answer({"error": "Something went wrong inside Train Embedding.", "hint": "The server's log says what."}, 500)

    return guarded
