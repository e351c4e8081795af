"""The whole way of an artist in the stand-alone app: in Chinese with gradio 3, in English with later versions.

WALK_LANGUAGES, such as "en zh", names others.
"""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gradio")

from tests.standalone_app import START, App, serve_app, tab, value, wait
from tests.whole_way import Walk
from train_embedding.hosts.standalone import DEMO_CHECKPOINT
from train_embedding.ui.gradio_compat import MAJOR

pytestmark = [
    pytest.mark.timeout(2400),
    pytest.mark.browser,
    pytest.mark.checkpoint,
    pytest.mark.slow,
    pytest.mark.skipif(not DEMO_CHECKPOINT.is_file(), reason="the demo checkpoint is not there"),
]
LANGUAGES = {"en": ("en-US", "Train Embedding"), "zh": ("zh-CN", "训练 Embedding")}
"The browser's language and the title of the tab."


class StandaloneApp:
    """A program of `tests.whole_way`."""

    def __init__(self, data: Path, open_page: Callable[[], Any], title: str) -> None:
        self._data = data
        self._open_page = open_page
        self._title = title
        self._running = ExitStack()
        self._app: App | None = None

    def open(self) -> Any:
        if self._app is None:
            self._app = self._running.enter_context(serve_app(self._data))
        page = self._open_page()
        page.goto(self._app.address)
        tab(page, self._title)
        wait(page, lambda: value(page, "te_library_shown") != "", "the first answers")
        return page

    def kill(self) -> None:
        assert self._app is not None
        self._app.process.kill()
        self._app.process.wait()
        self._app = None
        self._running.close()

    def close(self) -> None:
        self._running.close()

    def get(self, path: str) -> Any:
        assert self._app is not None
        with urllib.request.urlopen(f"{self._app.address}train-embedding/v1/{path}", timeout=START) as answer:
            return json.loads(answer.read())

    @property
    def embeddings(self) -> Path:
        return self._data / "embeddings"


@pytest.fixture(params=os.environ.get("WALK_LANGUAGES", "zh" if MAJOR < 4 else "en").split())
def walk(request: pytest.FixtureRequest, browser: Any, tmp_path: Path) -> Iterator[Walk]:
    locale, title = LANGUAGES[request.param]
    context = browser.new_context(viewport={"width": 1400, "height": 1000}, locale=locale)
    context.set_default_timeout(START * 1000)
    program = StandaloneApp(tmp_path / "data", context.new_page, title)
    (tmp_path / "images").mkdir()
    walked = Walk(program, request.param, tmp_path / "images")
    yield walked
    walked.look("end")
    context.close()
    program.close()


def test_from_a_heap_of_images_to_an_archive(walk: Walk) -> None:
    walk.whole_way()
