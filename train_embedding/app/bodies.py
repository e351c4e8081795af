"""Limits on request bodies: size, number of JSON values, and time."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.types import Receive, Scope

from train_embedding.api.json_size import check_json_size
from train_embedding.api.library import MAX_UPLOAD
from train_embedding.api.origins import SAFE_METHODS
from train_embedding.api.routes import PREFIX
from train_embedding.errors import InvalidInput

PAGE_BYTES = 2 * 2**20
"Largest body of a gradio event: texts, numbers, names of uploaded files."
PAGE_NODES = 100_000
"Largest number of JSON values in it; 2,000 uploaded files have about 32,000."
UPLOAD_BYTES = 512 * 2**20
"Largest upload of all files together."
CHUNK_SECONDS = 30.0
"Longest time between two parts of a body."


class BodyRefused(Exception):
    """A body is beyond the limits. The answer has this status and message, if no answer was started."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


def largest(path: str) -> int:
    """Return the largest body of a request to a path, in bytes. The API checks lower limits of its own."""
    if path.startswith(PREFIX + "/"):
        return MAX_UPLOAD
    return UPLOAD_BYTES if path.rstrip("/").endswith("/upload") else PAGE_BYTES


def check_length(scope: Scope, length: str) -> None:
    """Check the Content-Length header.

    Raises:
        BodyRefused: The body is too large.
    """
    if length.isdecimal() and int(length[:20]) > largest(scope["path"]):
        raise _too_large(scope)


async def bounded(scope: Scope, receive: Receive) -> Receive:
    """Return `receive` with the limits applied.

    Raises:
        BodyRefused: The body is beyond the limits; raised here or when `receive` is called.
    """
    if scope["type"] == "websocket":
        return _bounded_messages(receive)
    if scope["method"] in SAFE_METHODS:
        return receive
    counted = _counted(scope, receive)
    return await _whole_body(counted) if largest(scope["path"]) == PAGE_BYTES else counted


def _counted(scope: Scope, receive: Receive) -> Receive:
    left, ended = largest(scope["path"]), False

    async def counted() -> Any:
        nonlocal left, ended
        if ended:  # further calls wait for the end of the connection
            return await receive()
        try:
            message = await asyncio.wait_for(receive(), CHUNK_SECONDS)
        except (asyncio.TimeoutError, TimeoutError) as error:
            raise BodyRefused(408, f"No part of the body was received for {CHUNK_SECONDS:.0f} seconds.") from error
        left -= len(message.get("body", b""))
        ended = not message.get("more_body", False)
        if left < 0:
            raise _too_large(scope)
        return message

    return counted


async def _whole_body(receive: Receive) -> Receive:
    """Read a whole body, which is small, to count its values before gradio parses it."""
    body, more = bytearray(), True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    _check_nodes(bytes(body))
    waiting = [{"type": "http.request", "body": bytes(body), "more_body": False}]

    async def replayed() -> Any:
        return waiting.pop() if waiting else await receive()

    return replayed


def _bounded_messages(receive: Receive) -> Receive:
    async def bounded_message() -> Any:
        message = await receive()
        text = message.get("text") or ""
        if len(text) > PAGE_BYTES:
            return {"type": "websocket.disconnect", "code": 1009}
        try:
            _check_nodes(text.encode("utf-8", "replace"))
        except BodyRefused:
            return {"type": "websocket.disconnect", "code": 1009}
        return message

    return bounded_message


def _check_nodes(body: bytes) -> None:
    try:
        check_json_size(body, PAGE_NODES)
    except InvalidInput as problem:
        raise BodyRefused(413, problem.message) from problem


def _too_large(scope: Scope) -> BodyRefused:
    return BodyRefused(413, f"The body is larger than {largest(scope['path']) // 2**20} MiB.")
