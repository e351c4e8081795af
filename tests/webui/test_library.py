"""A downloaded embedding in the WebUI's library: put into the folder by hand, looked at, used as the negative prompt."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from benchmarks.hostile_cases import Calls
from tests.dragging import drag_in, drop
from tests.pages import settle
from tests.webui.server import (
    PATIENCE,
    PREFIX,
    ROUTES,
    WebUI,
    host_card,
    show_cards,
    show_sub_tab,
    show_tab,
    vectors_in,
    write_vectors,
)

NAME = f"{PREFIX}sixteen"
SETTINGS = {"steps": "50", "seed": "43", "width": "64", "height": "64"}


@pytest.fixture
def dropped(webui: WebUI) -> str:
    """A file of 16 vectors that another program has written; its hash as our list tells it."""
    webui.create(f"{PREFIX}seed", "tree")
    width = vectors_in(webui.embeddings / f"{PREFIX}seed.pt").shape[1]
    write_vectors(webui.embeddings / f"{NAME}.pt", torch.randn(16, width, generator=torch.Generator().manual_seed(5)) * 0.3)
    return next(entry["hash"] for entry in webui.get(f"{ROUTES}/embeddings") if entry["name"] == NAME)


def set_up(page: Any) -> None:
    """Euler, 50 steps, seed 43, hires fix."""
    show_tab(page, "txt2img")
    page.locator("#txt2img_sampling input").click()
    page.locator("#txt2img_sampling input").fill("Euler")
    page.locator("#txt2img_sampling li", has_text="Euler").filter(has_not_text="Euler a").first.click()
    for field, value in SETTINGS.items():
        number = page.locator(f"#txt2img_{field} input[type=number]").first
        number.fill(value)
        number.press("Tab")
    page.check("#txt2img_hr-visible-checkbox")
    page.fill("#txt2img_prompt textarea", "a big red star")


def generate(page: Any) -> tuple[bytes, str]:
    """The picture's pixels, and the text under it."""
    shown = "(document.querySelector('#txt2img_gallery img[src*=\"file=\"]') || {}).src"  # not the live preview
    before = page.evaluate(shown)
    page.click("#txt2img_generate")
    page.wait_for_function(f"before => {shown} && {shown} !== before", arg=before, timeout=5000 * PATIENCE)
    settle(page)  # the text under the picture follows it
    with Image.open(io.BytesIO(page.request.get(page.evaluate(shown)).body())) as image:
        return image.convert("RGB").tobytes(), page.inner_text("#html_info_txt2img")


def test_a_downloaded_embedding_changes_the_picture_and_is_named_under_it(page: Any, webui: WebUI, dropped: str) -> None:
    show_sub_tab(page, "Library")
    page.click("#te_library_refresh")
    page.locator(f"#te_library_cards [data-name={json.dumps(NAME)}]").wait_for()
    host_card(page, "txt2img", NAME).wait_for(state="attached")
    set_up(page)
    without, _ = generate(page)
    page.click("#txt2img_neg_prompt textarea")
    show_cards(page, "txt2img")
    host_card(page, "txt2img", NAME).dblclick()
    assert page.input_value("#txt2img_neg_prompt textarea") == NAME
    show_tab(page, "txt2img")
    page.locator("#txt2img_extra_tabs > .tab-nav button", has_text="Generation").click()
    first, text = generate(page)
    again, _ = generate(page)
    assert first != without
    assert first == again
    assert f"Negative prompt: {NAME}" in text
    assert "Sampler: Euler," in text
    assert "Hires upscale: 2" in text
    assert (f"TI: {NAME}" if webui.is_forge else f'TI hashes: "{NAME}: {dropped}') in text  # Forge tells no hash


def test_details_and_deletion_in_the_webui(page: Any, webui: WebUI, dropped: str) -> None:
    show_sub_tab(page, "Library")
    page.click("#te_library_refresh")
    page.locator(f"#te_library_cards [data-name={json.dumps(NAME)}]").click()
    page.wait_for_function(f"document.getElementById('te_library_details').textContent.includes('{dropped}')")
    page.locator("#te_library_details .te-send:visible").nth(3).wait_for()
    assert page.locator("#te_library_details .te-send:visible").count() == 4
    page.click("#te_library_details .te-send[data-box=img2img_neg_prompt]")
    assert page.input_value("#img2img_neg_prompt textarea") == NAME
    page.locator("#te_library button.label-wrap, #te_library .label-wrap", has_text="Rename, copy, delete").first.click()
    page.click("#te_library_delete")
    page.locator(f"#te_library_cards [data-name={json.dumps(NAME)}]").wait_for(state="detached")
    host_card(page, "txt2img", NAME).wait_for(state="detached")
    assert NAME not in webui.loaded()
    page.click("#te_library_undo")
    host_card(page, "txt2img", NAME).wait_for(state="attached")
    assert webui.loaded()[NAME]["vectors"] == 16


def test_an_unsafe_file_is_listed_and_sanitized(webui: WebUI, dropped: str, tmp_path: Path) -> None:
    """It is put there by hand, and looked at before the program lists its folder."""
    name, vectors = f"{PREFIX}evil", vectors_in(webui.embeddings / f"{NAME}.pt")
    payload = {"string_to_param": {"*": vectors}, "name": name, "more": Calls(os.system, f"touch '{tmp_path / 'ran'}'")}
    torch.save(payload, webui.embeddings / f"{name}.pt")
    entry = next(entry for entry in webui.get(f"{ROUTES}/embeddings") if entry["name"] == name)
    assert entry["unsafe_reason"].startswith(f'"{name}.pt" imports "posix.system".')
    assert webui.post(f"{ROUTES}/embeddings/{name}/sanitize", {})["unsafe_reason"] == ""
    assert torch.equal(vectors_in(webui.embeddings / f"{name}.pt"), vectors)
    assert webui.loaded()[name]["vectors"] == 16
    assert not (tmp_path / "ran").exists()


def test_files_dragged_onto_the_library_are_imported(page: Any, webui: WebUI, dropped: str, tmp_path: Path) -> None:
    dragged, notes = tmp_path / f"{PREFIX}拖放 c++ 星.pt", tmp_path / f"{PREFIX}拖放 c++ 星.json"
    dragged.write_bytes((webui.embeddings / f"{NAME}.pt").read_bytes())
    notes.write_text('{"description": "Dragged."}')
    holiday = tmp_path / "holiday.txt"
    holiday.write_text("sun")
    show_sub_tab(page, "Library")
    page.locator(f"#te_library_cards [data-name={json.dumps(f'{PREFIX}seed')}]").wait_for()
    drag_in(page, [notes, holiday, dragged], "#te_library_cards")
    assert page.locator("#te_library.te-drop").count() == 1
    drop(page, [notes, holiday, dragged], "#te_library_cards")
    page.wait_for_function(
        "document.getElementById('te_library_status').textContent.includes('1 embedding imported. 1 file was rejected.')"
    )
    assert page.locator("#te_library.te-drop").count() == 0
    said = page.inner_text("#te_library_status")
    assert '"holiday.txt" is not an embedding' in said
    assert f'Imported with it: "{notes.name}".' in said
    name = json.dumps(dragged.stem, ensure_ascii=False)
    page.locator(f"#te_library_cards [data-name={name}]").wait_for()
    page.locator(f"#txt2img_textual_inversion_cards .card[data-name={name}]").wait_for(state="attached")
    assert webui.loaded()[dragged.stem]["vectors"] == 16
    entry = next(entry for entry in webui.get(f"{ROUTES}/embeddings") if entry["name"] == dragged.stem)
    assert entry["notes"]["description"] == "Dragged."
