"""A Chromium for the tests of this folder, started once, and the page of a stand-alone app, which most of them use."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.chromium import started_chromium
from tests.standalone_app import SECOND, App, open_page, serve_app


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    pytest.importorskip("playwright.sync_api")
    with started_chromium() as started:
        yield started


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
