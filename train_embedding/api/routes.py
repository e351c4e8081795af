"""The routes under /train-embedding/v1: JSON in and out, errors as {"error": …, "hint": …}.

Bodies are read here rather than by pydantic, of which hosts pin versions 1 and 2: one reader, one form of error.
"""

from __future__ import annotations

import functools
import json
import logging
import math
from collections.abc import Awaitable, Callable
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import JSONResponse, Response
from fastapi.routing import APIRoute

from train_embedding.engine.spec import TrainingSpec
from train_embedding.errors import InvalidInput, TrainEmbeddingError
from train_embedding.services.initial import STARTS
from train_embedding.services.runs import CHANGEABLE

if TYPE_CHECKING:
    from train_embedding.services import Services

PREFIX = "/train-embedding/v1"
MAX_BODY = 2**20
"Bytes of a request's body."
SUFFIXES = {"pt": ".pt", "safetensors": ".safetensors"}

logger = logging.getLogger(__name__)

_ERRORS: dict[int | str, dict[str, Any]] = {
    422: {
        "description": "What is wrong, and what to do; other errors (403, 404, 409, 5xx) look the same.",
        "content": {"application/json": {"example": {"error": 'There is no embedding "my-cat".', "hint": ""}}},
    }
}
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
_RUN_EXAMPLE = {"embedding": "my-cat", "dataset": "/home/me/pictures/my cat", "preset": "Fast", "steps": 200}


class _Route(APIRoute):
    """Answers our errors, and whatever went wrong inside, in the one form that this API has."""

    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # pyright: ignore[reportIncompatibleMethodOverride]
        handle = super().get_route_handler()

        async def handle_errors(request: Request) -> Response:
            try:
                return await handle(request)
            except TrainEmbeddingError as problem:
                return _answer({"error": problem.message, "hint": problem.hint}, problem.http_status)

        return handle_errors


def mount(app: FastAPI, services: Services, dependencies: list[Any] | None = None) -> None:
    """Adds the routes to `app`, each behind `dependencies` (FastAPI's `Depends`), as the host guards its own API."""
    router = APIRouter(prefix=PREFIX, route_class=_Route, dependencies=dependencies or [], tags=["Train Embedding"])
    _add_embeddings(router, services)
    _add_runs(router, services)
    app.include_router(router)


def _add_embeddings(router: APIRouter, services: Services) -> None:
    def list_embeddings() -> Response:
        """Every embedding file: name, family, vectors, step, checkpoint, file, and whether it is loaded or why not."""
        return _answer([entry.to_json() for entry in services.library.list()])

    def create_embedding(values: Any = _BODY) -> Response:
        """Makes an embedding out of a text's token embeddings."""
        _check_fields(values, _CREATE_FIELDS)
        file_format = values.get("format", "pt")
        if not isinstance(file_format, str) or file_format not in SUFFIXES:
            raise InvalidInput(f'"format" is {_short(file_format)}; it must be one of {", ".join(SUFFIXES)}.')
        created = services.library.create(
            _text(values, "name"),
            _text(values, "init_text", ""),
            values.get("vectors", "auto"),
            _flag(values, "overwrite"),
            SUFFIXES[file_format],
            _text(values, "start", STARTS[0]),
        )
        return _answer({**created.entry.to_json(), "tokens": created.tokens, "notes": created.notes})

    _add(router, "GET", "/embeddings", list_embeddings)
    _add(router, "POST", "/embeddings", create_embedding, _documented(_CREATE_FIELDS, ["name"], _CREATE_EXAMPLE))


def _add_runs(router: APIRouter, services: Services) -> None:
    def list_runs() -> Response:
        """Every training run, the newest first."""
        return _answer([state.to_json() for state in services.runs.list()])

    def start_run(values: Any = _BODY) -> Response:
        """Starts training in the background: a preset and what differs from it. Answers the run's state, with its id."""
        return _answer(services.runs.start(TrainingSpec.from_json(values)).to_json())

    def get_run(run_id: str) -> Response:
        """A run's status, step, steps, loss, rate, ETA, files and error."""
        return _answer(services.runs.get(run_id).to_json())

    def get_run_pictures(run_id: str) -> Response:
        """Which pictures a run used, at which size and with which caption and mask, and which it did not and why."""
        return _answer(services.runs.pictures(run_id))

    def stop_run(run_id: str) -> Response:
        """Ends a run after its current step and keeps the result."""
        return _answer(services.runs.stop(run_id).to_json())

    def resume_run(run_id: str, values: Any = _BODY_IF_ANY) -> Response:
        """Goes on with a run that was stopped, failed or interrupted, to the same vectors as if it had never ended."""
        return _answer(services.runs.resume(run_id, values).to_json())

    defaults = TrainingSpec.from_json(_RUN_EXAMPLE).to_json()
    properties = {name: {"default": value} for name, value in defaults.items() if name not in _RUN_EXAMPLE}
    properties.update({name: {} for name in _RUN_EXAMPLE})
    changeable = {name: {"default": defaults[name]} for name in CHANGEABLE}
    _add(router, "GET", "/runs", list_runs)
    _add(router, "POST", "/runs", start_run, _documented(properties, ["embedding"], _RUN_EXAMPLE))
    _add(router, "GET", "/runs/{run_id}", get_run)
    _add(router, "GET", "/runs/{run_id}/pictures", get_run_pictures)
    _add(router, "POST", "/runs/{run_id}/stop", stop_run)
    _add(router, "POST", "/runs/{run_id}/resume", resume_run, _documented(changeable, [], {}))


def _add(router: APIRouter, method: str, path: str, endpoint: Callable[..., Response], extra: Any = None) -> None:
    """Endpoints are plain functions, which FastAPI runs in threads: they may wait for the disk or the model."""
    router.add_api_route(path, _logged(endpoint), methods=[method], responses=_ERRORS, openapi_extra=extra, response_model=None)


def _logged(endpoint: Callable[..., Response]) -> Callable[..., Response]:
    @functools.wraps(endpoint)
    def guarded(*args: Any, **kwargs: Any) -> Response:
        try:
            return endpoint(*args, **kwargs)
        except TrainEmbeddingError:
            raise
        except Exception:
            logger.exception("%s failed", endpoint.__name__)
            return _answer({"error": "Something went wrong inside Train Embedding.", "hint": "The server's log says what."}, 500)

    return guarded


async def _body(request: Request) -> dict[str, Any]:
    """The body as a JSON object, whatever its content type says. Raises InvalidInput."""
    return _parsed(await _read(request))


async def _body_if_any(request: Request) -> dict[str, Any]:
    """As `_body`, and {} where there is none."""
    data = await _read(request)
    return _parsed(data) if data.strip() else {}


async def _read(request: Request) -> bytes:
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > MAX_BODY:
            raise InvalidInput(f"The body is larger than {MAX_BODY // 1024} KiB.")
    return bytes(data)


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        values = json.loads(data.decode("utf-8-sig"), parse_constant=_refuse_number, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"The body is not JSON: {str(error)[:200]}.", 'Send an object such as {"name": "my-cat"}.') from error
    if not isinstance(values, dict):
        raise InvalidInput("The body is not a JSON object.", 'Send an object such as {"name": "my-cat"}.')
    return values


_BODY: Any = Depends(_body)
_BODY_IF_ANY: Any = Depends(_body_if_any)


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refuse_number(text)


def _refuse_number(text: str) -> float:
    raise InvalidInput(f"{_short(text)} is not a number that this API takes.")


def _check_fields(values: dict[str, Any], known: dict[str, Any]) -> None:
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise InvalidInput(f"There is no field {', '.join(map(_short, unknown))}.", f"Fields are {', '.join(known)}.")


def _text(values: dict[str, Any], name: str, default: str | None = None) -> str:
    if name not in values and default is None:
        raise InvalidInput(f'The field "{name}" is missing.')
    value = values.get(name, default)
    if not isinstance(value, str):
        raise InvalidInput(f'"{name}" is {_short(value)}; it must be text.')
    return value


def _flag(values: dict[str, Any], name: str) -> bool:
    value = values.get(name, False)
    if not isinstance(value, bool):
        raise InvalidInput(f'"{name}" is {_short(value)}; it must be true or false.')
    return value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def _answer(content: Any, status: int = 200) -> Response:
    return JSONResponse(_plain(content), status)


def _plain(value: Any) -> Any:
    """Values that JSON has: NaN and infinity become null, paths and stray surrogates text that can be encoded."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, PurePath):
        value = str(value)
    return value.encode("utf-8", "replace").decode("utf-8") if isinstance(value, str) else value


def _documented(properties: dict[str, Any], required: list[str], example: dict[str, Any]) -> dict[str, Any]:
    """What the host's /docs shows of a body that FastAPI does not parse."""
    schema = {"type": "object", "properties": properties, "required": required, "example": example}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
