"""The app in several languages: one copy of the page each, of which a browser gets the one that it prefers."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack

import fastapi
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from train_embedding.translations import Language, preferred_language

_HEADER = b"accept-language"
_COOKIE = "train-embedding-language"


class LanguageApps:
    """Passes each request to the app of the language that its `Accept-Language` header prefers.

    Chromium does not send the page's `Accept-Language` when a WebSocket is opened, which the queue of gradio 3 does. The page
    therefore sets a cookie, which names its language there.
    """

    def __init__(self, apps: Mapping[Language, fastapi.FastAPI]) -> None:
        """Wrap apps of the same routes.

        Args:
            apps: The app of each language; the first is for browsers that prefer none of them.
        """
        self.apps = dict(apps)
        self._first: Language = next(iter(self.apps))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request, or start and stop all apps."""
        if scope["type"] != "lifespan":
            language = self._language(scope)
            is_page = scope["type"] == "http" and scope["path"] == "/"
            await self.apps[language](scope, receive, _with_cookie(send, language) if is_page else send)
            return
        async with AsyncExitStack() as stack:
            for language, app in self.apps.items():
                if language != self._first:
                    await stack.enter_async_context(app.router.lifespan_context(app))
            await self.apps[self._first](scope, receive, send)

    def _language(self, scope: Scope) -> Language:
        connection = HTTPConnection(scope)
        named = connection.cookies.get(_COOKIE) if scope["type"] == "websocket" else None
        language = preferred_language(named or connection.headers.get("accept-language", ""))
        return language if language in self.apps else self._first


def _with_cookie(send: Send, language: Language) -> Send:
    """Return a `send` that adds the cookie with the language of the page to a response."""

    async def send_with_cookie(message: Message) -> None:
        if message["type"] == "http.response.start":
            cookie = f"{_COOKIE}={language}; Path=/; SameSite=Strict; HttpOnly"
            message = {**message, "headers": [*message["headers"], (b"set-cookie", cookie.encode())]}
        await send(message)

    return send_with_cookie


class OwnRequests:
    """Lets the queue of gradio 3, which calls the page's functions over HTTP, name the language in the path.

    A path such as "/@zh_CN/api/predict" becomes "/api/predict" with the header `Accept-Language: zh_CN`. This comes before all
    checks, so that they see the path that is served.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        await self._app(_without_language(scope), receive, send)


def own_address(address: str, language: Language) -> str:
    """Return the address that `OwnRequests` reads a language from.

    Args:
        address: Of the app, with a slash at its end.
        language: Of the page whose functions are called there.
    """
    return f"{address}@{language}/"


def _without_language(scope: Scope) -> Scope:
    if scope["type"] != "http" or not scope["path"].startswith("/@"):
        return scope
    language, _, rest = scope["path"][2:].partition("/")
    headers = [(name, value) for name, value in scope["headers"] if name != _HEADER]
    headers.append((_HEADER, language.encode("latin-1", "ignore")))
    path = f"/{rest}"
    return {**scope, "path": path, "raw_path": path.encode(), "headers": headers}
