"""Adding routes, and their errors as JSON."""

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
from train_embedding.messages import msg

logger = logging.getLogger(__name__)

_ERRORS: dict[int | str, dict[str, Any]] = {
    422: {
        "description": "What is wrong, and what to do. Other errors (403, 404, 409, 5xx) have the same form.",
        "content": {"application/json": {"example": {"error": 'No embedding named "my-cat".', "hint": ""}}},
    }
}


_INTERNAL_ERROR = msg("An internal error occurred in Train Embedding.")
_SEE_LOG = msg("See the server's log for details.")


class Route(APIRoute):
    """A route that answers errors as JSON with `error` and `hint`."""

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
    """Add a route.

    Args:
        router: The router.
        method: The HTTP method.
        path: The path below the router's prefix.
        endpoint: A plain function, which FastAPI runs in a thread, so it may wait for the disk or the model.
        extra: Additions to the OpenAPI description, as `bodies.documented` returns them.
    """
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
            return answer({"error": _INTERNAL_ERROR, "hint": _SEE_LOG}, 500)

    return guarded
