"""Handing on in Chromium: archives, share cards and presets are downloaded, and presets filled in again."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gradio")

from tests.standalone_app import App, choose_card, create, fill, frames, text, unfold, unfold_advanced, value, wait
from train_embedding.embeddings.formats import read_embedding
from train_embedding.hosts.standalone import DEMO_CHECKPOINT

pytestmark = [
    pytest.mark.browser,
    pytest.mark.checkpoint,
    pytest.mark.slow,
    pytest.mark.skipif(not DEMO_CHECKPOINT.is_file(), reason="the demo checkpoint is not there"),
]


def export(ui: Any, label: str, folder: Path) -> Path:
    """Chooses a format and exports; returns the downloaded file."""
    ui.click("#te_library_form input")
    ui.locator("#te_library_form [role=option], #te_library_form li.item").filter(has_text=label).first.click()
    with ui.expect_download() as download:
        ui.click("#te_library_export")
    file = folder / download.value.suggested_filename
    download.value.save_as(file)
    return file


def test_an_archive_and_a_card_are_downloaded(ui: Any, app: App, tmp_path: Path) -> None:
    create(ui, "to-share", "red", "2")
    choose_card(ui, "to-share")
    unfold(ui, "Export", "te_library_export")
    fill(ui, "te_library_license", "CC0 1.0")
    archive = export(ui, "archive for Civitai", tmp_path)
    assert archive.name == "to-share-civitai.zip"
    with zipfile.ZipFile(archive) as opened:
        assert "CC0 1.0" in opened.read("to-share/README.md").decode()
    wait(ui, lambda: "paste the texts from README.md" in text(ui, "te_library_status"), "what to do with it", 30)
    card = export(ui, "share card", tmp_path)
    original = read_embedding(app.data / "embeddings" / "to-share.pt")
    assert read_embedding(card).vectors["clip_l"].equal(original.vectors["clip_l"])


def enter(ui: Any, name: str, content: str) -> None:
    fill(ui, f"te_train_{name}", content)
    ui.locator(f"#te_train_{name} input").blur()


def marked(ui: Any) -> list[str]:
    """The options that are marked as changed."""
    return ui.locator("#te_train_changed button[data-option]").evaluate_all("all => all.map((one) => one.dataset.option)")


def test_a_preset_is_saved_left_and_filled_in_again(ui: Any, app: App, tmp_path: Path) -> None:
    enter(ui, "steps", "300")
    wait(ui, lambda: marked(ui) == ["steps"], "the mark", 30)
    ui.locator("#te_presets .label-wrap").first.click()
    ui.wait_for_selector("#te_presets_name:visible")
    frames(ui, 3)
    fill(ui, "te_presets_name", "pencil")
    ui.click("#te_presets_save")
    wait(ui, lambda: "Saved the preset pencil." in text(ui, "te_presets_status"), "the message", 30)
    wait(ui, lambda: marked(ui) == [], "the end of the mark: it is the preset's value now", 30)
    enter(ui, "batch_size", "5")
    enter(ui, "steps", "7")
    wait(ui, lambda: marked(ui) == ["steps", "batch_size"], "both marks", 30)
    ui.click("#te_train_changed button[data-option=steps]")
    wait(ui, lambda: value(ui, "te_train_steps") == "300" and marked(ui) == ["batch_size"], "the reset of one", 30)
    ui.click("#te_train_reset_all")
    wait(ui, lambda: value(ui, "te_train_batch_size") == "2" and marked(ui) == [], "the reset of all", 30)
    with ui.expect_download() as download:
        ui.click("#te_presets_export")
    assert download.value.suggested_filename == "pencil.json"
    file = tmp_path / "theirs.json"
    download.value.save_as(file)
    file.write_text(file.read_text().replace("pencil", "theirs").replace("300", "200"))
    ui.click("#te_presets_delete")
    wait(ui, lambda: "pencil is in the trash." in text(ui, "te_presets_status"), "the deletion", 30)
    ui.click("#te_presets_undo")
    wait(ui, lambda: value(ui, "te_presets_choice") == "pencil", "the preset again", 30)
    with ui.expect_file_chooser() as chooser:
        ui.click("#te_presets_import")
    chooser.value.set_files(file)
    wait(ui, lambda: value(ui, "te_train_steps") == "200", "the settings of the file", 30)
    assert sorted(file.stem for file in (app.data / "presets").glob("*.json")) == ["pencil", "theirs"]


def test_what_it_stands_for_follows_a_reset(ui: Any) -> None:
    def kind() -> list[str]:
        return ui.locator("#te_train_kind label:has(input:checked)").all_inner_texts()

    unfold_advanced(ui)
    ui.locator("#te_train_kind label", has_text="Style").click()
    wait(ui, lambda: "style" in value(ui, "te_train_template"), "the caption lines of styles", 30)
    enter(ui, "steps", "300")
    wait(ui, lambda: marked(ui) == ["steps"], "the mark, without what the kind decides", 30)
    ui.click("#te_train_reset_all")
    wait(ui, lambda: marked(ui) == [], "the reset", 30)
    assert "style" in value(ui, "te_train_template")
    assert kind() == ["Style"]
    fill(ui, "te_train_template", "my own [name]")
    ui.locator("#te_train_template textarea").blur()
    wait(ui, lambda: "template" in marked(ui), "the mark of the caption lines", 30)
    ui.click("#te_train_reset_all")
    wait(ui, lambda: "a photo of [name]" in value(ui, "te_train_template") and kind() == ["Subject"], "the usual kind", 30)
