"""Request bodies and JSON answers.

Bodies are not parsed by pydantic: hosts pin version 1 or 2, whose error messages differ.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from typing import Any, cast

from fastapi import Depends, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from train_embedding.api.json_size import check_json_size
from train_embedding.errors import InvalidInput
from train_embedding.messages import msg, plural, verbatim
from train_embedding.services.json_values import to_json

MAX_BODY = 2**20
"Largest body of a request in bytes."
MAX_DIGITS = 4300
"Longest whole number that is parsed. Python before 3.10.7 takes minutes for a very long one."
_EXAMPLE = msg("Send an object such as {example}.", example='{"name": "my-cat"}')


def body_of(limit: int = MAX_BODY) -> Any:
    """Return a FastAPI dependency that reads the body as a JSON object, outside the event loop.

    The dependency raises InvalidInput for a body that is not a JSON object.

    Args:
        limit: Largest body in bytes.
    """

    async def body(request: Request) -> dict[str, Any]:
        return await run_in_threadpool(_parsed, await _read(request, limit))

    return Depends(body)


async def _body_if_any(request: Request) -> dict[str, Any]:
    """Read the body like `body_of`; a request without a body gives {}."""
    data = await _read(request, MAX_BODY)
    return await run_in_threadpool(_parsed, data) if data.strip() else {}


async def _read(request: Request, limit: int) -> bytes:
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > limit:
            raise InvalidInput(msg("The body is larger than {size} KiB.", size=limit // 1024))
    return bytes(data)


def _parsed(data: bytes) -> dict[str, Any]:
    check_json_size(data)
    try:
        text = data.decode("utf-8-sig")
        values: object = json.loads(text, parse_constant=_refuse_number, parse_float=_finite, parse_int=_whole)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(msg("The body is not JSON: {reason}.", reason=str(error)[:200]), _EXAMPLE) from error
    if not isinstance(values, dict):
        raise InvalidInput(msg("The body is not a JSON object."), _EXAMPLE)
    return cast("dict[str, Any]", values)


BODY: Any = body_of()
BODY_IF_ANY: Any = Depends(_body_if_any)


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refuse_number(text)


def _whole(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise InvalidInput(msg("{value} has more than {limit} digits.", value=short(text), limit=MAX_DIGITS))
    return int(text)


def _refuse_number(text: str) -> float:
    raise InvalidInput(msg("{value} is not a finite number.", value=short(text)))


def check_fields(values: dict[str, Any], known: dict[str, Any]) -> None:
    """Raise InvalidInput if the body has a field that is not among the known ones."""
    unknown = sorted(set(values) - set(known))
    if unknown:
        names = ", ".join(map(short, unknown))
        raise InvalidInput(
            plural("Unknown field {names}.", "Unknown fields {names}.", len(unknown), names=names),
            msg("The fields are {names}.", names=", ".join(known)),
        )


def text_field(values: dict[str, Any], name: str, default: str | None = None) -> str:
    """Return a text of the body, or the default.

    Raises:
        InvalidInput: It is not text, or it is missing and there is no default.
    """
    if name not in values and default is None:
        raise InvalidInput(msg('The field "{name}" is missing.', name=name))
    value = values.get(name, default)
    if not isinstance(value, str):
        raise InvalidInput(msg('"{name}" is {value}; it must be text.', name=name, value=short(value)))
    return value


def flag_field(values: dict[str, Any], name: str) -> bool:
    """Return a boolean of the body; false if it is missing.

    Raises:
        InvalidInput: It is neither true nor false.
    """
    value = values.get(name, False)
    if not isinstance(value, bool):
        raise InvalidInput(msg('"{name}" is {value}; it must be true or false.', name=name, value=short(value)))
    return value


def number_field(values: dict[str, Any], name: str, default: float) -> float:
    """Return a number of the body.

    Raises:
        InvalidInput: It is not a number.
    """
    value = values.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidInput(msg('"{name}" is {value}; it must be a number.', name=name, value=short(value)))
    return float(value)


def count_field(values: dict[str, Any], name: str) -> int:
    """Return a whole number of the body.

    Raises:
        InvalidInput: It is missing, or no whole number.
    """
    value = values.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        if name not in values:
            raise InvalidInput(msg('The field "{name}" is missing.', name=name))
        raise InvalidInput(msg('"{name}" is {value}; it must be a whole number.', name=name, value=short(value)))
    return value


def texts_field(values: dict[str, Any], name: str) -> list[str]:
    """Return a list of texts of the body; empty if it is missing.

    Raises:
        InvalidInput: It is not a list of texts.
    """
    texts: Any = values.get(name, [])
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in cast("list[Any]", texts)):
        raise InvalidInput(msg('"{name}" is {value}; it must be a list of texts.', name=name, value=short(texts)))
    return cast("list[str]", texts)


def content_field(values: dict[str, Any], name: str) -> bytes:
    """Return the content of a file in base64. Raises InvalidInput if it is missing or not base64."""
    try:
        return base64.b64decode(text_field(values, name), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidInput(msg('"{name}" is not base64: {reason}.', name=name, reason=verbatim(str(error)))) from error


def short(value: Any) -> str:
    """Return a value as an error message quotes it, cut off after 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def answer(content: Any, status: int = 200) -> Response:
    """Return results of the services as a JSON response."""
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
    """Describe a body in OpenAPI, since FastAPI does not parse it.

    Args:
        properties: The JSON schema of each field.
        required: The fields without a default.
        example: A body that works.
    """
    schema = {"type": "object", "properties": properties, "required": required, "example": example}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
