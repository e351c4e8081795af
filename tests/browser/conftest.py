"""A Chromium for the tests of this folder, started once, and the page of a stand-alone app, which most of them use."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from tests.standalone_app import SECOND, App, open_page, serve_app

ARGUMENTS = ("--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        try:
            started = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=list(ARGUMENTS))
        except sync_api.Error as error:
            if os.environ.get("TRAIN_EMBEDDING_REQUIRE_BROWSER") == "1":
                raise
            pytest.skip(f"Chromium does not start: {str(error).splitlines()[0]}")
        yield started
        started.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    yield context.new_page()
    context.close()


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """A stand-alone app with an empty data folder."""
    with serve_app(tmp_path_factory.mktemp("app")) as started:
        yield started


@pytest.fixture
def ui(app: App, page: Any) -> Any:
    """The app's page, with the scripts loaded and the first poll answered."""
    page.set_default_timeout(60 * SECOND)
    open_page(app, page)
    return page
