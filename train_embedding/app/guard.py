"""Middleware of the standalone app, for gradio, the API, files, streams and websockets."""

from __future__ import annotations

from urllib.parse import unquote

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from train_embedding.api.origins import SAFE_METHODS, check_origin
from train_embedding.api.routes import PREFIX
from train_embedding.app import bodies
from train_embedding.app.access import Access, token_in
from train_embedding.errors import NotAllowed
from train_embedding.messages import msg

_FRAMES = "frame-ancestors 'self'"
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",  # otherwise the token in an address would be sent to other sites
}
_INERT = f"sandbox; default-src 'none'; {_FRAMES}"
"Policy for uploaded files: opened by their address, they run no scripts."
_SIGNED_IN = """<!doctype html><meta charset="utf-8"><title>Train Embedding</title>
<meta http-equiv="refresh" content="0;url=./"><p><a href="./">Train Embedding</a></p>"""
"Redirects to the app by a page: then browsers send the new cookie, even after a click on a link of another site."
_CLOSED = 1008
"Close code of a websocket that is refused."


class Guard:
    """Refuses requests that `access` does not admit and requests by pages of other sites."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access
        self.program_tokens: tuple[str, ...] = ()
        "Tokens that gradio 3 sends when it calls the functions of its own queues over HTTP."

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        answer = _Answer(send, scope, self._cookie(scope))
        try:
            refusal = self._refusal(scope)
            if refusal is not None:
                await answer.refuse(refusal, receive)
            else:
                await self._app(scope, await bodies.bounded(scope, receive), answer.send)
        except bodies.BodyRefused as problem:
            if not answer.started:
                await answer.refuse(_error(scope, problem.status, problem.message, ""), receive)

    def _refusal(self, scope: Scope) -> Response | None:
        """Return the answer to a refused request; None for other requests."""
        headers = Headers(scope=scope)
        try:
            self._check(scope, headers)
        except NotAllowed as problem:
            return _error(scope, problem.http_status, problem.message, problem.hint)
        if not self._admits(scope, headers):
            return self._unauthorized(scope)
        if scope["type"] == "http" and scope["path"] == "/" and self._has_token(scope):
            return HTMLResponse(_SIGNED_IN)
        bodies.check_length(scope, headers.get("content-length", ""))
        return None

    def _check(self, scope: Scope, headers: Headers) -> None:
        """Check host and origin.

        Raises:
            NotAllowed: The Host header is not that of this server, or a page of another site sent the request.
        """
        host = headers.get("host", "")
        if not self._access.is_own_host(host):
            raise NotAllowed(
                msg('The host name "{name}" is not allowed.', name=host[:60]),
                msg("To allow it, start the app with {option}.", option="--allow-host"),
            )
        if scope["type"] == "websocket" or scope["method"] not in SAFE_METHODS:
            check_origin(headers)
        elif headers.get("sec-fetch-site") in ("cross-site", "same-site") and not _is_opened(headers):
            raise NotAllowed(msg("The request comes from a page of another site."), msg("Open the address directly."))

    def _admits(self, scope: Scope, headers: Headers) -> bool:
        authorization = headers.get("authorization", "")
        return self._access.admits(headers, scope["query_string"]) or (
            any(Access(token=token).admits({"authorization": authorization}, b"") for token in self.program_tokens)
        )

    def _has_token(self, scope: Scope) -> bool:
        return self._access.guarded and bool(token_in(scope["query_string"]))

    def _unauthorized(self, scope: Scope) -> Response:
        if self._access.accounts:
            answer = _error(scope, 401, "A user name and a password are needed.", "Use those of --auth.")
            answer.headers["WWW-Authenticate"] = 'Basic realm="Train Embedding", charset="UTF-8"'
            return answer
        answer = _error(scope, 401, "The token is missing or wrong.", "Open the address that the program has printed.")
        answer.headers["WWW-Authenticate"] = "Bearer"
        return answer

    def _cookie(self, scope: Scope) -> str:
        """Return the cookie to set after a correct password or token; empty if none is needed."""
        headers = Headers(scope=scope)
        query = scope["query_string"]
        access = self._access
        if scope["type"] != "http" or not access.guarded or access.has_cookie(headers) or not access.admits(headers, query):
            return ""
        return f"{access.cookie}={access.session}; HttpOnly; SameSite=Strict; Path=/"


class _Answer:
    """Sends the app's answer with the security headers."""

    def __init__(self, send: Send, scope: Scope, cookie: str) -> None:
        self._send, self._scope, self._cookie = send, scope, cookie
        self.started = False

    async def send(self, message: Message) -> None:
        """Send a message of the app."""
        if message["type"] == "http.response.start":
            self.started = True
            headers = MutableHeaders(scope=message)
            for name in {name for name in headers if name.startswith("access-control-")}:
                del headers[name]
            for name, value in _HEADERS.items():
                headers[name] = value
            headers["Content-Security-Policy"] = _INERT if _is_file(self._scope["path"]) else _FRAMES
            if self._cookie:
                headers.append("Set-Cookie", self._cookie)
        await self._send(message)

    async def refuse(self, response: Response, receive: Receive) -> None:
        """Send a response, or close a websocket."""
        if self._scope["type"] == "websocket":
            await self._send({"type": "websocket.close", "code": _CLOSED})
        else:
            await response(self._scope, receive, self.send)


def _error(scope: Scope, status: int, message: str, hint: str) -> Response:
    """Return an error as JSON for the API, else as plain text."""
    if scope["path"].startswith(PREFIX):
        return JSONResponse({"error": message, "hint": hint}, status)
    return PlainTextResponse(f"{message} {hint}".strip(), status)


def _is_opened(headers: Headers) -> bool:
    """Return whether the user followed a link of another site to this app, not inside a frame."""
    return headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"


def _is_file(path: str) -> bool:
    """Return whether gradio serves an uploaded file at a path."""
    rest = unquote(path).removeprefix("/gradio_api")
    return rest.startswith(("/file=", "/file/"))
