"""The app in several languages: each browser gets the page that it prefers, and gradio 3's queue reaches the right one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

pytest.importorskip("fastapi")

import fastapi
from starlette.testclient import TestClient

from train_embedding.app.languages import LanguageApps, OwnRequests, own_address

started: list[str] = []


def app_in(language: str) -> fastapi.FastAPI:
    """An app that says its language."""

    @asynccontextmanager
    async def lifespan(_app: fastapi.FastAPI):
        started.append(language)
        yield
        started.remove(language)

    app = fastapi.FastAPI(lifespan=lifespan)

    @app.get("/page")
    def page() -> str:
        return language

    return app


@pytest.fixture
def client() -> Iterator[TestClient]:
    apps = LanguageApps({"en": app_in("en"), "zh_CN": app_in("zh_CN")})
    with TestClient(OwnRequests(apps)) as client:
        yield client


@pytest.mark.parametrize(
    ("header", "language"), [("zh-CN,zh;q=0.9", "zh_CN"), ("en-US,en", "en"), ("de", "en"), ("zh-TW", "en"), ("", "en")]
)
def test_a_browser_gets_the_language_that_it_prefers(client: TestClient, header: str, language: str) -> None:
    assert client.get("/page", headers={"accept-language": header}).json() == language


def test_the_path_of_the_own_queue_names_the_language(client: TestClient) -> None:
    address = own_address("http://testserver/", "zh_CN")
    assert client.get(f"{address}page", headers={"accept-language": "en"}).json() == "zh_CN"
    assert client.get("/@odd%E4%B8%AD/page").json() == "en"


def test_all_apps_start_and_stop(client: TestClient) -> None:
    assert started == ["zh_CN", "en"]
    client.__exit__()
    assert started == []


def test_a_websocket_gets_the_language_of_its_page() -> None:
    answered: list[str] = []

    def app(language: str) -> Any:
        async def respond(scope: Any, _receive: Any, send: Any) -> None:
            answered.append(language)
            if scope["type"] == "http":
                await send({"type": "http.response.start", "status": 200, "headers": []})
                await send({"type": "http.response.body", "body": b""})

        return respond

    def ask(kind: str, path: str, *headers: tuple[bytes, bytes]) -> list[tuple[bytes, bytes]]:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        asyncio.run(LanguageApps({"en": app("en"), "zh_CN": app("zh_CN")})(
            {"type": kind, "path": path, "headers": [*headers]}, None, send  # type: ignore[arg-type]
        ))  # fmt: skip
        return sent[0]["headers"] if sent else []

    (cookie,) = [value for name, value in ask("http", "/", (b"accept-language", b"zh-CN")) if name == b"set-cookie"]
    name = cookie.partition(b";")[0]
    ask("websocket", "/queue/join", (b"accept-language", b"en-US"), (b"cookie", name))
    ask("websocket", "/queue/join", (b"accept-language", b"zh-CN"))
    ask("http", "/", (b"accept-language", b"en-US"), (b"cookie", name))
    assert answered == ["zh_CN", "zh_CN", "zh_CN", "en"]
    assert ask("http", "/file", (b"accept-language", b"zh-CN")) == []
