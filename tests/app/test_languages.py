"""The app in several languages: each browser gets the page that it prefers, and gradio 3's queue reaches the right one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import asynccontextmanager

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
