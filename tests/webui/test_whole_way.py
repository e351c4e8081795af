"""The whole way of an artist in the WebUI's tab, in English and in Chinese.

The WebUI has a data folder of its own, so that its queue and its language are its own as well.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.standalone_app import value, wait
from tests.webui.server import ROUTES, StartedWebUI
from tests.whole_way import Walk
from train_embedding.demo.run import export_checkpoint

ROOT = Path(__file__).parents[2]
LANGUAGES = {"en": ("None", "Train Embedding"), "zh": ("zh_CN", "训练 Embedding")}
"The WebUI's setting and the title of the tab."


class OwnWebUI:
    """A program of `tests.whole_way`."""

    def __init__(self, start: Callable[[], StartedWebUI], open_page: Callable[..., Any], title: str) -> None:
        self._start = start
        self._open_page = open_page
        self._title = title
        self._started: StartedWebUI | None = None

    @property
    def started(self) -> StartedWebUI:
        assert self._started is not None, "it does not run"
        return self._started

    def open(self) -> Any:
        self._started = self._started or self._start()
        page = self._open_page(self._started.webui.url)
        page.locator("#tabs > .tab-nav button", has_text=self._title).click()
        page.wait_for_selector("#te_train_button:visible")
        wait(page, lambda: value(page, "te_library_shown") != "", "the first answers")
        return page

    def kill(self) -> None:
        self.started.kill()
        self._started = None

    def get(self, path: str) -> Any:
        return self.started.webui.get(f"{ROUTES}/{path}")

    @property
    def embeddings(self) -> Path:
        return self.started.webui.embeddings


@pytest.fixture(params=LANGUAGES)
def walk(
    request: pytest.FixtureRequest, start_one: Callable[..., StartedWebUI], open_page: Callable[..., Any], tmp_path: Path
) -> Iterator[Walk]:
    setting, title = LANGUAGES[request.param]
    folder, images = tmp_path / "data", tmp_path / "images"
    images.mkdir()
    (folder / "extensions").mkdir(parents=True)
    (folder / "extensions" / "train-embedding").symlink_to(ROOT)
    (folder / "config.json").write_text(json.dumps({"localization": setting, "show_progress_type": "Approx cheap"}))
    checkpoint = export_checkpoint(folder / "models" / "Stable-diffusion")
    program = OwnWebUI(lambda: start_one("--data-dir", str(folder), "--ckpt", str(checkpoint), folder=folder), open_page, title)
    walked = Walk(program, request.param, images)
    yield walked
    walked.look("end")


def test_from_a_heap_of_images_to_an_archive(walk: Walk) -> None:
    walk.whole_way()
