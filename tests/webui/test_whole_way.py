"""An artist's way in the WebUI's tab, in English and in Chinese: from creating and dropped images to a training that has ended.

The WebUI is killed in the middle of the training and started again. It has a data folder of its own, so that its queue and its
language are its own as well. With WEBUI_SCREENSHOTS, a folder, each stage is seen there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.dragging import drop
from tests.pages import settle
from tests.webui.server import (
    ROUTES,
    StartedWebUI,
    WebUI,
    fill,
    open_creation,
    unfold_advanced,
    wait_for,
)
from train_embedding.demo.run import export_checkpoint

ROOT = Path(__file__).parents[2]
NAME = "te-test-whole"
LANGUAGES = {"en": "None", "zh": "zh_CN"}
"The WebUI's setting for each."
TRAIN, DATASET, RUNS = range(3)
"Places of the sub-tabs."
SMALL = {
    "steps": 90, "batch_size": 2, "width": 64, "height": 64, "preview_steps": 3, "preview_every": 30, "eval_every": 10,
    "save_every": 5,
}  # fmt: skip


class Walk:
    """A browser in one language, which takes screenshots of what it shows."""

    def __init__(self, language: str, open_page: Callable[..., Any]) -> None:
        self.language = language
        self._open_page = open_page
        self._stages = 0

    def visit(self, webui: WebUI) -> None:
        """Open the tab in a new page."""
        self.webui = webui
        self.page = self._open_page(webui.url)
        title = "Train Embedding" if self.language == "en" else "训练 Embedding"
        self.page.locator("#tabs > .tab-nav button", has_text=title).click()
        self.page.wait_for_selector("#te_train_button:visible")

    def show(self, sub_tab: int) -> None:
        self.page.locator("#te_tabs > .tab-nav button").nth(sub_tab).click()

    def look(self, stage: str) -> None:
        """Take a screenshot of the whole page."""
        settle(self.page)
        self._stages += 1
        if folder := os.environ.get("WEBUI_SCREENSHOTS"):
            file = Path(folder) / f"{self.language}-{self._stages:02}-{stage}.png"
            self.page.screenshot(path=file, full_page=True)

    def open(self, accordion: str, inside: str) -> None:
        self.page.click(f"#{accordion} .label-wrap")
        self.page.wait_for_selector(f"#{inside}:visible")

    def drag(self, selector: str, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Drag from one place of an element to another, both as parts of its width and height."""
        box = self.page.locator(selector).bounding_box()
        places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in (start, end)]
        mouse = self.page.mouse
        mouse.move(*places[0])
        mouse.down()
        mouse.move(*places[1], steps=5)
        mouse.up()


@pytest.fixture(params=LANGUAGES)
def walk(request: pytest.FixtureRequest, open_page: Callable[..., Any]) -> Iterator[Walk]:
    walked = Walk(request.param, open_page)
    yield walked
    walked.look("end")


@pytest.fixture
def start_own(walk: Walk, start_one: Callable[..., StartedWebUI], tmp_path: Path) -> Callable[[], StartedWebUI]:
    """Starts a WebUI with a data folder of its own, the demo checkpoint and the language of the walk."""
    folder = tmp_path / "data"
    (folder / "extensions").mkdir(parents=True)
    (folder / "extensions" / "train-embedding").symlink_to(ROOT)
    checkpoint = export_checkpoint(folder / "models" / "Stable-diffusion")
    settings = {"localization": LANGUAGES[walk.language], "show_progress_type": "Approx cheap"}
    (folder / "config.json").write_text(json.dumps(settings))
    return lambda: start_one("--data-dir", str(folder), "--ckpt", str(checkpoint), folder=folder)


def test_from_a_heap_of_images_to_a_resumed_training(walk: Walk, start_own: Callable[[], StartedWebUI], pictures: Path) -> None:
    started = start_own()
    walk.visit(started.webui)
    walk.look("first")
    create(walk)
    drop_images(walk, pictures)
    write_captions(walk)
    crop_and_mask(walk)
    run_id = train_until_it_is_killed(walk, started)
    walk.visit(start_own().webui)
    resume(walk, run_id)


def create(walk: Walk) -> None:
    page = walk.page
    open_creation(page)
    fill(page, "te_create_name", NAME)
    fill(page, "te_create_init_text", "orange")
    page.click("#te_create_button")
    page.wait_for_selector("#te_create_status .te-good")
    page.click("#te_train_kind input[value=style]")
    page.wait_for_function("document.querySelector('#te_train_template textarea').value.includes('style')")
    walk.look("created")


def drop_images(walk: Walk, pictures: Path) -> None:
    page = walk.page
    drop(page, sorted(pictures.glob("*.png")), "#te_step_images")
    page.wait_for_selector('#te_train_dataset_check .te-strip[data-pending="false"]')
    assert page.locator("#te_train_dataset_check .te-thumbs img").count() == 6
    assert page.input_value("#te_train_dataset input") == NAME
    walk.look("images")
    page.click("#te_train_check")
    page.wait_for_selector('#te_dataset_list .te-dataset[data-updating="false"] .te-image img.te-thumb:visible')
    walk.look("dataset")


def write_captions(walk: Walk) -> None:
    page, folder = walk.page, dataset_of(walk)
    page.locator("#te_dataset_list .te-image").first.click()
    page.wait_for_selector("#te_dataset_caption textarea:visible:not([readonly])")
    page.fill("#te_dataset_caption textarea", "a disc, orange")
    page.press("#te_dataset_caption textarea", "Enter")
    wait_for(lambda: captions_in(folder), lambda captions: captions == ["a disc, orange"])
    page.press("#te_dataset_caption textarea", "ArrowDown")
    page.wait_for_function("document.querySelector('#te_dataset_current textarea').value === 'disc 1.png'")
    page.click("#te_dataset_tags [data-tag=orange]")
    page.click("#te_dataset_save")
    wait_for(lambda: captions_in(folder), lambda captions: captions == ["a disc, orange", "orange"])
    walk.open("te_dataset_bulk", "te_dataset_apply")
    fill(page, "te_dataset_prefix", f"{NAME}, ")
    page.check("#te_dataset_create_captions input")
    page.click("#te_dataset_apply")
    expected = [f"{NAME}, a disc, orange", f"{NAME}, orange", *4 * [NAME]]
    wait_for(lambda: [caption.rstrip(", ") for caption in captions_in(folder)], lambda captions: captions == expected)
    page.wait_for_selector("#te_dataset_status .te-good")
    walk.look("captions")


def crop_and_mask(walk: Walk) -> None:
    page, folder = walk.page, dataset_of(walk)
    page.click("#te_dataset_edit")
    page.wait_for_selector(".te-editor .te-stage-picture:visible")
    page.locator(".te-stage").scroll_into_view_if_needed()
    walk.drag(".te-stage", (0.1, 0.1), (0.9, 0.9))
    walk.look("crop")
    page.click(".te-editor [data-edit=crop]")
    crops = folder / "crops-for-training.json"
    wait_for(crops.is_file)
    page.wait_for_selector("#te_dataset_status .te-good")
    page.click(".te-editor [data-edit=mode-mask]")
    page.locator(".te-stage").scroll_into_view_if_needed()
    walk.drag(".te-stage", (0.2, 0.5), (0.8, 0.5))
    walk.look("mask")
    page.click(".te-editor [data-edit=mask]")
    wait_for(lambda: list(folder.rglob("*mask*")))
    page.wait_for_selector("#te_dataset_status .te-good")
    walk.look("saved")


def train_until_it_is_killed(walk: Walk, started: StartedWebUI) -> str:
    page = walk.page
    page.click("#te_dataset_use")
    page.wait_for_selector("#te_tab_train:visible")
    unfold_advanced(page)
    for field, value in SMALL.items():
        fill(page, f"te_train_{field}", str(value))
    page.wait_for_selector("#te_train_estimate .te-message")
    walk.look("settings")
    page.click("#te_train_enqueue")
    page.wait_for_selector("#te_train_status .te-message")
    walk.look("queued")
    (run,) = wait_for(lambda: started.webui.get(f"{ROUTES}/runs"), bool)
    started.webui.wait_for_run(run["id"], lambda now: now["status"] == "running" and now["step"] >= 12)
    walk.show(RUNS)
    page.wait_for_selector("#te_queue_list .te-queued-running")
    walk.look("running")
    started.kill()
    return str(run["id"])


def resume(walk: Walk, run_id: str) -> None:
    page = walk.page
    walk.show(RUNS)
    page.wait_for_selector("#te_queue_list .te-queue-paused .te-queued")
    walk.look("interrupted")
    page.click("#te_queue_continue")
    run = walk.webui.wait_for_run(run_id, lambda now: now["status"] in ("finished", "failed"))
    assert run["status"] == "finished", run
    walk.show(TRAIN)
    page.wait_for_selector("#te_train_progress [data-status=finished]")
    page.wait_for_selector("#te_train_status .te-good")
    assert str(run["saved_step"] or run["step"]) in page.inner_text("#te_train_status")
    page.wait_for_selector("#te_train_plot canvas")
    page.wait_for_selector("#te_train_gallery img")
    walk.look("finished")


def dataset_of(walk: Walk) -> Path:
    """The folder of the dropped images."""
    named = {one["name"]: one["folder"] for one in walk.webui.get(f"{ROUTES}/datasets")}
    return Path(named[NAME])


def captions_in(folder: Path) -> list[str]:
    return [file.read_text(encoding="utf-8") for file in sorted(folder.glob("*.txt"))]
