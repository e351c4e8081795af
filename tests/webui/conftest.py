"""A running WebUI: WEBUI_URL is its address, WEBUI_DIR its data folder, WEBUI_API_AUTH "user:password" where it has --api-auth.

Without WEBUI_URL the tests of this folder are skipped. They make and delete embeddings whose names begin with "te-test-".
"""

from __future__ import annotations

import functools
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.chromium import started_chromium
from tests.webui.server import PATIENCE, PREFIX, ROUTES, StartedWebUI, WebUI, draw_pictures


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.webui)
            item.add_marker(pytest.mark.slow)
            if not os.environ.get("WEBUI_URL"):
                item.add_marker(pytest.mark.skip(reason="needs a running WebUI, its address in WEBUI_URL"))


@pytest.fixture(scope="session")
def webui() -> WebUI:
    server = _webui()
    _tidy(server)
    return server


@functools.cache
def _webui() -> WebUI:
    url = os.environ["WEBUI_URL"].rstrip("/")
    return WebUI(url, Path(os.environ["WEBUI_DIR"]), os.environ.get("WEBUI_API_AUTH", ""))


@pytest.fixture(scope="session", autouse=True)
def _cheap_progress(webui: WebUI) -> Iterator[None]:
    """The WebUI's live previews of SDXL would otherwise download a network."""
    before = webui.get("/sdapi/v1/options")["show_progress_type"]
    webui.post("/sdapi/v1/options", {"show_progress_type": "None" if webui.is_sdnext else "Approx cheap"})
    yield
    webui.post("/sdapi/v1/options", {"show_progress_type": before})


_IN_SDNEXT = {
    "test_sdnext.py": None,
    "test_api.py": {"test_bad_input_gets_a_sentence", "test_the_routes_are_in_the_webuis_documentation"},
    "test_combining.py": {"test_a_new_embedding_is_nearest_to_its_words"},
    "test_create.py": {
        "test_the_embedding_of_a_text_is_the_text", "test_a_safetensors_file_is_loaded_too",
        "test_overwriting_needs_to_be_asked_for_and_changes_pictures_at_once",
    },
}  # fmt: skip
"Tests that run in SD.Next, by file. The others are about the page, the `.pt` files, the routes or the PNG answers of the WebUI."


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what the program cannot do before any fixture begins to train."""
    if Path(__file__).parent not in item.path.parents or not os.environ.get("WEBUI_URL"):
        return
    is_sdnext = _webui().is_sdnext
    if item.path.name == "test_sdnext.py" and not is_sdnext:
        pytest.skip("for SD.Next")
    if is_sdnext:
        names = _IN_SDNEXT.get(item.path.name, set())
        if names is not None and getattr(item, "originalname", item.name) not in names:
            pytest.skip("for the page, the `.pt` files or the routes of the WebUI, which SD.Next does not have")


@pytest.fixture(autouse=True)
def _clean(webui: WebUI) -> Iterator[None]:
    yield
    for run in webui.get(f"{ROUTES}/runs"):
        if run["active"]:
            webui.post(f"{ROUTES}/runs/{run['id']}/stop")
            webui.wait_for_run(run["id"])
    _tidy(webui)


def _tidy(webui: WebUI) -> None:
    files = list(webui.embeddings.rglob(f"{PREFIX}*"))
    for file in files:
        if file.is_dir():
            shutil.rmtree(file)
        elif file.exists():
            file.unlink()
    if files and webui.call("POST", "/te-test/reload").status == 404:  # without the extension of tests/webui
        webui.post("/sdapi/v1/refresh-embeddings")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    pytest.importorskip("playwright.sync_api")
    with started_chromium() as started:
        yield started


@pytest.fixture
def open_page(chromium: Any, webui: WebUI) -> Iterator[Callable[..., Any]]:
    """Opens the WebUI in a browser of its own, ready for use; what is not on this machine is left out."""
    contexts: list[Any] = []

    def open_it(url: str = webui.url) -> Any:
        context = chromium.new_context(viewport={"width": 1500, "height": 1100})
        contexts.append(context)
        context.set_default_timeout(PATIENCE * 1000)
        # The browser's driver matches a pattern by itself; with a function, requests would wait while this process waits.
        elsewhere = re.compile(f"^(?!{re.escape(url)}|data:|blob:)")
        context.route(elsewhere, lambda route: route.abort())
        page = context.new_page()
        page.goto(url, wait_until="domcontentloaded")
        page.wait_for_selector("#txt2img_generate")
        page.wait_for_selector("#te_train_poll", state="attached")
        page.wait_for_function("document.querySelector('#img2img_textual_inversion_extra_refresh') !== null")
        page.wait_for_function(
            "['txt2img', 'img2img'].every(tab =>"
            " !/^\\s*Loading/.test(document.getElementById(tab + '_textual_inversion_cards').textContent))"
        )
        return page

    yield open_it
    for context in contexts:
        context.close()


@pytest.fixture
def page(open_page: Callable[[], Any]) -> Any:
    return open_page()


@pytest.fixture
def start_one(webui: WebUI, tmp_path: Path) -> Iterator[Callable[..., StartedWebUI]]:
    """Starts a WebUI with WEBUI_COMMAND, over the folders of the one under test or, with an option, over others."""
    command = os.environ.get("WEBUI_COMMAND")
    if not command:
        pytest.skip("needs WEBUI_COMMAND, which starts a WebUI on {port} with the folders of the one under test")
    started: list[StartedWebUI] = []

    def start_it(*options: str, folder: Path = webui.folder) -> StartedWebUI:
        log = tmp_path / f"webui-{len(started)}.log"
        started.append(StartedWebUI(replace(webui, folder=folder), command, log, options))
        return started[-1]

    yield start_it
    for one in started:
        one.kill()


@pytest.fixture
def other_checkpoint(webui: WebUI) -> Iterator[str]:
    """The file name of one that is not chosen; the chosen one is chosen again at the end."""
    before = webui.checkpoint
    others = [name for name in webui.checkpoints() if name != before]
    if not others:
        pytest.skip("needs a second checkpoint in the WebUI's folder")
    yield others[0]
    webui.choose_checkpoint(before)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return draw_pictures(tmp_path)
