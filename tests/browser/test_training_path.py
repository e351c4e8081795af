"""The three steps of the sub-tab Train in Chromium: what is missing, dropped images, the estimate, and the saved step."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("gradio")

from tests.dragging import drop
from tests.standalone_app import (
    PICTURES,
    App,
    create,
    fill,
    progress,
    sub_tab,
    text,
    unfold_advanced,
    value,
    wait,
)
from train_embedding.hosts.standalone import DEMO_CHECKPOINT

pytestmark = [
    pytest.mark.browser,
    pytest.mark.checkpoint,
    pytest.mark.slow,
    pytest.mark.skipif(not DEMO_CHECKPOINT.is_file(), reason="the demo checkpoint is not there"),
]


def says(ui: Any, element: str, words: str) -> None:
    wait(ui, lambda: words in text(ui, element), f"{words!r} in {element}", 30)


def top_of(ui: Any, element: str) -> float:
    return ui.locator(f"#{element}").first.bounding_box()["y"] + ui.evaluate("window.scrollY")


def test_from_nothing_to_a_trained_embedding(ui: Any, app: App) -> None:
    says(ui, "te_step_embedding_state", "Choose or create an embedding.")
    says(ui, "te_step_images_state", "Choose a dataset, or drop images here.")
    says(ui, "te_step_training_state", "Choose an embedding in step 1 first.")
    says(ui, "te_train_estimate", "has been measured on this computer yet")
    assert "Created" in create(ui, "my-lime", "green", "2")
    wait(ui, lambda: not ui.locator("#te_create_name").is_visible(), "the form to be closed", 30)
    says(ui, "te_step_embedding_state", "my-lime, 2 vectors, untrained")
    says(ui, "te_step_training_state", "Choose images in step 2 first.")

    drop(ui, sorted(PICTURES.glob("*.png"))[:4], "#te_step_images")
    says(ui, "te_train_images_status", "4 files added.")
    wait(ui, lambda: value(ui, "te_train_dataset") == "my-lime", "the new dataset in its field", 30)
    says(ui, "te_step_images_state", "my-lime: 4 images")
    says(ui, "te_train_dataset_check", "4 images")
    wait(ui, lambda: ui.locator("#te_train_dataset_check .te-thumbs img").count() == 4, "the thumbnails", 30)
    assert len(list((app.data / "datasets" / "my-lime").glob("*.png"))) == 4
    says(ui, "te_step_training_state", "Ready to train my-lime.")

    fill(ui, "te_train_steps", "40")
    click = "button => { button.click(); return button.classList.contains('te-busy'); }"
    assert ui.eval_on_selector("#te_train_button", click), "the click is seen at once"
    says(ui, "te_step_training_state", "step ")
    wait(ui, lambda: progress(ui)["status"] == "finished", "the end of training")
    says(ui, "te_step_training_state", "Ready to train my-lime.")
    wait(ui, lambda: "te-busy" not in (ui.locator("#te_train_button").get_attribute("class") or ""), "the button as before", 30)
    says(ui, "te_train_estimate", "A step takes")
    says(ui, "te_step_embedding_state", f"{progress(ui)['step']} steps")
    before = text(ui, "te_train_estimate")
    fill(ui, "te_train_steps", "1400")
    wait(ui, lambda: text(ui, "te_train_estimate") != before, "another estimate", 30)
    says(ui, "te_train_estimate", "1400")


def test_enter_chooses_the_embedding_whose_name_was_typed(ui: Any) -> None:
    for name in ("my-pear", "my-pear-2"):
        create(ui, name, "green", "1")
    wait(ui, lambda: value(ui, "te_train_embedding") == "my-pear-2", "the new embedding in its field", 30)
    field = ui.locator("#te_train_embedding input").first
    field.click()
    ui.wait_for_selector("#te_train_embedding li[aria-label=my-pear]")
    field.fill("my-pear")  # "my-pear-2", which is chosen, begins with it
    field.press("Enter")
    says(ui, "te_step_embedding_state", "my-pear, 1 vector, untrained")
    assert value(ui, "te_train_embedding") == "my-pear"
    field.click()
    field.press("Control+a")
    field.press_sequentially("my-pear-2")  # letter by letter, which gradio 3 reports late
    field.press("Enter")
    field.blur()
    says(ui, "te_step_embedding_state", "my-pear-2, 1 vector, untrained")


def test_advanced_settings_never_push_the_buttons_away(ui: Any) -> None:
    sub_tab(ui, "Train")
    before = top_of(ui, "te_train_button")
    assert not ui.locator("#te_train_seed").is_visible()
    unfold_advanced(ui)
    ui.wait_for_selector("#te_train_seed:visible")
    ui.wait_for_selector("#te_train_preview_every:visible")
    assert top_of(ui, "te_train_button") == pytest.approx(before, abs=2)


@pytest.mark.parametrize("width", [1400, 1000])
def test_nothing_is_wider_than_the_page(ui: Any, width: int) -> None:
    ui.set_viewport_size({"width": width, "height": 800})
    ui.wait_for_selector("#te_train_path:visible")  # the sub-tab that is open at first
    assert ui.evaluate("document.documentElement.scrollWidth") <= width
    boxes = [ui.locator(f"#{place}").bounding_box() for place in ("te_train_path", "te_train_run")]
    assert boxes[0]["x"] + boxes[0]["width"] <= boxes[1]["x"], "the progress is beside the steps"
