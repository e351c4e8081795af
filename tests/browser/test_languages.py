"""The stand-alone app in a Chinese browser: whatever it shows is Chinese, and names stay as they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gradio")

from tests.chinese import english_words, visible_texts
from tests.standalone_app import (
    PICTURES,
    SECOND,
    App,
    choose,
    choose_dataset,
    fill,
    frames,
    open_creation,
    progress,
    sub_tab,
    tab,
    text,
    unfold_advanced,
    wait,
)
from train_embedding.hosts.standalone import DEMO_CHECKPOINT

pytestmark = [
    pytest.mark.browser,
    pytest.mark.checkpoint,
    pytest.mark.slow,
    pytest.mark.skipif(not DEMO_CHECKPOINT.is_file(), reason="the demo checkpoint is not there"),
]

NAME = "steps"
"A name that is also a label of the tab, in small letters."
FAMILY = "custom"
"The model family of the demo checkpoint, a word of the API."


@pytest.fixture
def ui(app: App, browser: Any) -> Iterator[Any]:
    """The page of a browser that prefers Chinese."""
    context = browser.new_context(viewport={"width": 1400, "height": 1000}, locale="zh-CN")
    page = context.new_page()
    page.set_default_timeout(60 * SECOND)
    page.goto(app.address)
    tab(page, "训练 Embedding")
    wait(
        page, lambda: page.locator("#te_library_shown").locator("input, textarea").first.input_value() != "", "the first answers"
    )
    yield page
    context.close()


class Visit:
    """A walk through the page that notes every text it shows."""

    def __init__(self, ui: Any) -> None:
        self.ui = ui
        self.seen: set[str] = set()

    def look(self) -> None:
        frames(self.ui, 3)
        self.seen |= visible_texts(self.ui, "#te_panels, #tab_txt2img")

    def create(self, name: str, init_text: str, vectors: str = "auto") -> None:
        open_creation(self.ui)
        before = text(self.ui, "te_create_status")
        for element, content in (("name", name), ("init_text", init_text), ("vectors", vectors)):
            fill(self.ui, f"te_create_{element}", content)
        self.ui.click("#te_create_button")
        wait(self.ui, lambda: text(self.ui, "te_create_status") not in ("", before), "an answer to Create")
        self.look()

    def check_dataset(self, folder: Path) -> None:
        before = text(self.ui, "te_train_dataset_check")
        choose_dataset(self.ui, folder)
        wait(self.ui, lambda: text(self.ui, "te_train_dataset_check") not in ("", before), "the check of the dataset")
        self.look()

    def train(self) -> None:
        self.ui.locator("#te_presets .label-wrap").first.click()
        unfold_advanced(self.ui)
        self.ui.wait_for_selector("#te_train_preview_every:visible")
        fill(self.ui, "te_train_batch_size", "0")
        self.ui.click("#te_train_button")
        wait(self.ui, lambda: text(self.ui, "te_train_status") != "", "the message")
        self.look()
        for element, content in (("steps", "12"), ("batch_size", "2"), ("preview_every", "6")):
            fill(self.ui, f"te_train_{element}", content)
        self.ui.click("#te_train_button")
        wait(self.ui, lambda: progress(self.ui)["status"] in ("preparing", "running"), "the start of training")
        self.look()
        wait(self.ui, lambda: progress(self.ui)["status"] in ("finished", "stopped", "failed"), "the end of training")
        for summary in self.ui.locator("#te_train_pictures summary").all():
            summary.click()
        self.look()

    def use_dataset(self) -> None:
        self.ui.locator("#te_dataset_list .te-image").first.click()
        self.ui.wait_for_selector("#te_dataset_details .te-dataset-image")
        for title in self.ui.locator("#te_dataset .label-wrap:visible").all():
            title.click()
            frames(self.ui, 2)
        self.ui.click("#te_dataset_edit")
        self.ui.wait_for_selector("#te_dataset_editor .te-editor")
        self.look()
        self.ui.click(".te-editor [data-edit=mode-mask]")
        self.look()
        self.ui.click("#te_dataset_auto_generate")
        wait(self.ui, lambda: text(self.ui, "te_dataset_auto_progress") != "", "what is missing for automatic captions")
        self.look()

    def use_runs(self) -> None:
        self.ui.locator("#te_runs_list .te-run").first.click()
        self.ui.wait_for_selector("#te_runs_details .te-run-details")
        self.ui.click("#te_runs_compare")
        self.ui.wait_for_selector("#te_compare_grid .te-comparison")
        self.look()

    def use_library(self) -> None:
        self.ui.locator(f"#te_library_cards .te-card[data-name={NAME}]").click()
        self.ui.wait_for_selector("#te_library_details .te-details")
        for title in self.ui.locator("#te_library .label-wrap:visible").all():
            title.click()
            frames(self.ui, 2)
        self.look()
        self.ui.click("#te_library_inspect")
        self.ui.wait_for_selector("#te_library_report .te-report")
        fill(self.ui, "te_library_tokens_prompt", f"a photo of {NAME}, (red:1.2)")
        fill(self.ui, "te_library_expression", f"{NAME} + ")
        self.ui.click("#te_library_mix_preview")
        wait(self.ui, lambda: text(self.ui, "te_library_combined") != "", "what is wrong with the formula")
        self.look()
        self.ui.click("#te_library_delete")
        self.ui.wait_for_selector("#te_library_undo:visible")
        self.look()
        sub_tab(self.ui, "Train", "训练")
        self.create(NAME, "green", "1")
        sub_tab(self.ui, "Library", "Embedding 库")
        self.ui.click("#te_library_undo")
        self.ui.wait_for_selector("#te_library_taken:visible")
        self.look()


def test_everything_that_an_artist_meets_is_chinese(ui: Any, tmp_path: Path) -> None:
    visit = Visit(ui)
    visit.look()
    for name, init_text, vectors in (("a:b", "green", "auto"), ("", "green", "1"), (NAME, "", "99"), (NAME, "green", "2")):
        visit.create(name, init_text, vectors)
    choose(ui, NAME)
    for folder in (tmp_path / "missing", tmp_path, PICTURES):
        visit.check_dataset(folder)
    visit.train()
    sub_tab(ui, "Dataset", "数据集")
    visit.use_dataset()
    sub_tab(ui, "Runs", "训练记录")
    visit.use_runs()
    sub_tab(ui, "Library", "Embedding 库")
    visit.use_library()
    shown = {text: english_words(_without_names(text, tmp_path)) for text in sorted(visit.seen)}
    assert {text: words for text, words in shown.items() if words and text != FAMILY} == {}
    assert len(shown) > 150


def _without_names(text: str, folder: Path) -> str:
    """Leave out the folders, the embedding and the checkpoint, whose names are not translated."""
    for name in (str(folder), NAME, f"{PICTURES.name}：", DEMO_CHECKPOINT.stem):
        text = text.replace(name, "")
    return text
