"""SD.Next: what it does with the tokens of embeddings, training between its own jobs, and its cards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.webui.server import PREFIX, ROUTES, WebUI, fill, wait_for

NAME = f"{PREFIX}sdnext"
TABS = ("txt2img", "img2img")
SMALL = {"batch_size": 2, "width": 64, "height": 64, "preview_steps": 3, "early_stopping": False, "save_every": 0}


def start(webui: WebUI, pictures: Path, **fields: Any) -> str:
    return webui.post(f"{ROUTES}/runs", {"embedding": NAME, "dataset": str(pictures), **SMALL, **fields})["id"]


def test_new_files_are_those_that_sdnext_lists(webui: WebUI) -> None:
    created = webui.create(NAME, "red star")
    assert Path(created["file"]) == webui.embeddings / f"{NAME}.safetensors"
    assert created["loaded"]
    assert NAME in webui.loaded()
    refused = webui.call("POST", f"{ROUTES}/embeddings", {"name": f"{NAME}-pt", "format": "pt"})
    assert (refused.status, refused.body["hint"]) == (422, "Use one of .safetensors.")


def test_fewer_vectors_leave_no_token_behind(webui: WebUI) -> None:
    if webui.create(NAME, "blue circle on a field")["family"] == "SDXL":
        pytest.skip("of several vectors, SD.Next uses only the first in the pooled output of SDXL")
    assert webui.picture(f"a {NAME}") == webui.picture("a blue circle on a field")
    webui.create(NAME, "red", vectors=1, overwrite=True)
    assert webui.picture(f"a {NAME}") == webui.picture("a red")


def test_the_old_name_of_an_embedding_and_that_of_a_deleted_one_are_text_again(webui: WebUI) -> None:
    old, new = f"{NAME}-old", f"{NAME}-new"
    texts = {name: webui.picture(f"a {name}") for name in (old, new)}
    webui.create(old, "red star")
    star = webui.picture("a red star")
    assert webui.picture(f"a {old}") == star
    assert webui.call("PATCH", f"{ROUTES}/embeddings/{old}", {"name": new}).status == 200
    assert webui.picture(f"a {old}") == texts[old]
    assert webui.picture(f"a {new}") == star
    assert webui.call("DELETE", f"{ROUTES}/embeddings/{new}").status == 200
    assert webui.picture(f"a {new}") == texts[new]


def test_training_changes_the_embedding_and_nothing_else(webui: WebUI, pictures: Path) -> None:
    webui.create(NAME, "a circle", vectors=2)
    prompts = [("a red star on a navy background", ""), ("a photo of a tree", "blurry, grey")]
    before, own = [webui.picture(*prompt) for prompt in prompts], webui.picture(f"a {NAME}")
    run = webui.wait_for_run(start(webui, pictures, steps=6, preview_every=3))
    assert (run["status"], run["step"], run["error"]) == ("finished", 6, "")
    assert run["files"] == [str(webui.embeddings / f"{NAME}.safetensors")]
    assert webui.picture(f"a {NAME}") != own
    assert [webui.picture(*prompt) for prompt in prompts] == before


def test_images_of_the_api_are_made_during_training_and_interrupt_ends_it(webui: WebUI, pictures: Path) -> None:
    """Jobs of SD.Next's API are not in its list of waiting tasks."""
    webui.create(NAME, "a circle", vectors=2)
    before = webui.picture("a red star")
    run_id = start(webui, pictures, steps=100_000, preview_every=0)
    webui.wait_for_run(run_id, lambda run: run["step"] > 0)
    status = wait_for(lambda: webui.get("/sdapi/v1/progress"), lambda progress: progress["state"]["sampling_step"] > 0)
    assert status["state"]["sampling_steps"] == 100_000
    assert NAME in status["state"]["job"]
    assert "loss" in status["textinfo"]
    assert webui.picture("a red star") == before
    assert webui.run(run_id)["active"]
    webui.call("POST", "/sdapi/v1/interrupt", {})
    assert webui.wait_for_run(run_id)["status"] == "stopped"
    assert webui.picture("a red star") == before


def test_the_card_of_a_new_embedding_appears_and_a_double_click_uses_it(sdnext_page: Any, webui: WebUI) -> None:
    page = sdnext_page
    page.locator(".tab-nav button", has_text="Train Embedding").first.click()
    fill(page, "te_create_name", NAME)
    fill(page, "te_create_init_text", "red star")
    page.click("#te_create_button")
    for tab in TABS:
        card_of(page, tab).wait_for(state="attached")
    page.locator(".tab-nav button", has_text="Text").first.click()
    cards = page.locator("#txt2img_extra_tabs > .tab-nav button", has_text="Embedding")
    if not cards.is_visible():
        page.click("#txt2img_extra_networks_btn")
    cards.click()
    for box, other in (("txt2img_prompt", "txt2img_neg_prompt"), ("txt2img_neg_prompt", "txt2img_prompt")):
        page.fill(f"#{other} textarea", "")
        page.fill(f"#{box} textarea", "a photo")
        page.focus(f"#{box} textarea")
        for _ in range(2):
            card_of(page, "txt2img").dblclick()
            assert page.input_value(f"#{box} textarea") == f"a photo {NAME}"
        assert page.input_value(f"#{other} textarea") == ""


def card_of(page: Any, tab: str) -> Any:
    return page.locator(f"#{tab}_embedding_cards .card[data-short='{NAME}']")


@pytest.fixture
def sdnext_page(chromium: Any, webui: WebUI) -> Any:
    context = chromium.new_context(viewport={"width": 1500, "height": 1100})
    context.set_default_timeout(600_000)  # its page has thousands of components
    page = context.new_page()
    page.goto(webui.url, wait_until="commit")
    page.wait_for_selector("#te_train_poll", state="attached")
    yield page
    context.close()
