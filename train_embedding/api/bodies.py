"""JSON in and out. Bodies are read here, not by pydantic, of which hosts pin versions 1 and 2: one reader, one form of error."""

from __future__ import annotations

import json
import math
from typing import Any, cast

from fastapi import Depends, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from train_embedding.api.json_size import check_json_size
from train_embedding.errors import InvalidInput
from train_embedding.services.json_values import to_json

MAX_BODY = 2**20
"Bytes of a request's body."
MAX_DIGITS = 4300
"Of a whole number; longer ones take long to read, in Python before 3.10.7 minutes."


def body_of(limit: int = MAX_BODY) -> Any:
    """A dependency: the body of at most `limit` bytes as a JSON object, read outside the event loop. Raises InvalidInput."""

    async def body(request: Request) -> dict[str, Any]:
        return await run_in_threadpool(_parsed, await _read(request, limit))

    return Depends(body)


async def _body_if_any(request: Request) -> dict[str, Any]:
    """As `body_of`, and {} where there is none."""
    data = await _read(request, MAX_BODY)
    return await run_in_threadpool(_parsed, data) if data.strip() else {}


async def _read(request: Request, limit: int) -> bytes:
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > limit:
            raise InvalidInput(f"The body is larger than {limit // 1024} KiB.")
    return bytes(data)


def _parsed(data: bytes) -> dict[str, Any]:
    check_json_size(data)
    try:
        text = data.decode("utf-8-sig")
        values: object = json.loads(text, parse_constant=_refuse_number, parse_float=_finite, parse_int=_whole)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"The body is not JSON: {str(error)[:200]}.", 'Send an object such as {"name": "my-cat"}.') from error
    if not isinstance(values, dict):
        raise InvalidInput("The body is not a JSON object.", 'Send an object such as {"name": "my-cat"}.')
    return cast("dict[str, Any]", values)


BODY: Any = body_of()
BODY_IF_ANY: Any = Depends(_body_if_any)


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refuse_number(text)


def _whole(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise InvalidInput(f"{short(text)} has more than {MAX_DIGITS} digits.")
    return int(text)


def _refuse_number(text: str) -> float:
    raise InvalidInput(f"{short(text)} is not a number that this API takes.")


def check_fields(values: dict[str, Any], known: dict[str, Any]) -> None:
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise InvalidInput(f"There is no field {', '.join(map(short, unknown))}.", f"Fields are {', '.join(known)}.")


def text_field(values: dict[str, Any], name: str, default: str | None = None) -> str:
    if name not in values and default is None:
        raise InvalidInput(f'The field "{name}" is missing.')
    value = values.get(name, default)
    if not isinstance(value, str):
        raise InvalidInput(f'"{name}" is {short(value)}; it must be text.')
    return value


def flag_field(values: dict[str, Any], name: str) -> bool:
    value = values.get(name, False)
    if not isinstance(value, bool):
        raise InvalidInput(f'"{name}" is {short(value)}; it must be true or false.')
    return value


def short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def answer(content: Any, status: int = 200) -> Response:
    return JSONResponse(_encodable(to_json(content)), status)


def _encodable(value: Any) -> Any:
    """Replace what strict JSON and UTF-8 cannot encode: NaN and infinity by null, stray surrogates by "?"."""
    if isinstance(value, dict):
        return {_encodable(key): _encodable(item) for key, item in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [_encodable(item) for item in cast("list[Any]", value)]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value.encode("utf-8", "replace").decode("utf-8") if isinstance(value, str) else value


def documented(properties: dict[str, Any], required: list[str], example: dict[str, Any]) -> dict[str, Any]:
    """What the host's /docs shows of a body that FastAPI does not parse."""
    schema = {"type": "object", "properties": properties, "required": required, "example": example}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
