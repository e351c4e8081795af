"""The app in several languages: one copy of the page each, of which a browser gets the one that it prefers."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack

import fastapi
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from train_embedding.translations import Language, preferred_language

_HEADER = b"accept-language"


class LanguageApps:
    """Passes each request to the app of the language that its `Accept-Language` header prefers."""

    def __init__(self, apps: Mapping[Language, fastapi.FastAPI]) -> None:
        """Wrap apps of the same routes.

        Args:
            apps: The app of each language; the first is for browsers that prefer none of them.
        """
        self.apps = dict(apps)
        self._first = next(iter(self.apps.values()))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request, or start and stop all apps."""
        if scope["type"] != "lifespan":
            await self._preferred(scope)(scope, receive, send)
            return
        async with AsyncExitStack() as stack:
            for app in self.apps.values():
                if app is not self._first:
                    await stack.enter_async_context(app.router.lifespan_context(app))
            await self._first(scope, receive, send)

    def _preferred(self, scope: Scope) -> fastapi.FastAPI:
        language = preferred_language(Headers(scope=scope).get("accept-language", ""))
        return self.apps.get(language, self._first)


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
