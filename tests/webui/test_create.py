"""Creating in the WebUI: the file, its values, and that it means what its text means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.webui.server import PREFIX, ROUTES, WebUI, fill, open_creation, show_tab, tables_in, vectors_in, wait_for

TEXTS = (
    ("tree", 1),
    ("tree", 4),
    ("a big red star", 2),
    ("a big red star", 4),
    ("a big red star", 7),
    ("", 3),
    ("*", 1),
    ("Ünï, (x)!", 5),
)


def test_the_tab_creates_a_file_that_the_webui_loads(page: Any, webui: WebUI) -> None:
    name = f"{PREFIX}tab"
    show_tab(page, "Train Embedding")
    open_creation(page)
    fill(page, "te_create_name", name)
    fill(page, "te_create_init_text", "a big tree")
    page.wait_for_function("/3 tokens/.test(document.getElementById('te_create_budget').textContent)")
    page.click("#te_create_button")
    page.wait_for_function(f"document.getElementById('te_create_status').textContent.includes('Created {name}')")
    assert (webui.embeddings / f"{name}.pt").is_file()
    assert webui.loaded()[name]["vectors"] == 3


@pytest.mark.parametrize(("text", "count"), TEXTS)
def test_the_values_are_those_that_the_webui_writes(webui: WebUI, text: str, count: int) -> None:
    if reason := webui.why_it_creates_none:
        pytest.skip(reason)
    ours, theirs = f"{PREFIX}ours", f"{PREFIX}theirs"
    created = webui.create(ours, text, vectors=count)
    if "clip_l" in tables_in(Path(created["file"])):
        pytest.skip("the WebUI writes no SDXL embeddings that it could read")
    answer = webui.post(
        "/sdapi/v1/create/embedding", {"name": theirs, "num_vectors_per_token": count, "overwrite_old": False, "init_text": text}
    )
    assert "error" not in answer["info"], answer
    one, other = vectors_in(webui.embeddings / f"{ours}.pt"), vectors_in(webui.embeddings / f"{theirs}.pt")
    assert one.shape == other.shape
    assert one.equal(other)


@pytest.mark.parametrize("text", ["tree", "a big tree", "red star on a navy background, striped"])
def test_the_embedding_of_a_text_is_the_text(webui: WebUI, text: str) -> None:
    name = f"{PREFIX}same"
    tokens = webui.create(name, text, vectors=1)["tokens"]
    created = webui.create(name, text, vectors=tokens, overwrite=True)
    assert created["vectors"] == tokens
    assert webui.picture(f"a {name} by monet") == webui.picture(f"a {text} by monet")
    assert webui.picture("a house", f"a {name}, ugly") == webui.picture("a house", f"a {text}, ugly")
    assert webui.picture(f"a {name} by monet") != webui.picture("a by monet")


def test_a_safetensors_file_is_loaded_too(webui: WebUI) -> None:
    name = f"{PREFIX}safe"
    created = webui.create(name, "tree", vectors=1, format="safetensors")
    assert Path(created["file"]) == webui.embeddings / f"{name}.safetensors"
    assert created["loaded"]
    assert webui.picture(f"a {name}") == webui.picture("a tree")


def test_overwriting_needs_to_be_asked_for_and_changes_pictures_at_once(webui: WebUI) -> None:
    name = f"{PREFIX}over"
    webui.create(name, "tree", vectors=1)
    tree = webui.picture(f"a {name}")
    taken = webui.call("POST", f"{ROUTES}/embeddings", {"name": name, "init_text": "car"})
    assert taken.status == 409
    assert webui.picture(f"a {name}") == tree
    webui.create(name, "car", vectors=1, overwrite=True)
    assert webui.picture(f"a {name}") == webui.picture("a car") != tree


def test_the_result_names_the_error_in_the_tab(page: Any, webui: WebUI) -> None:
    show_tab(page, "Train Embedding")
    open_creation(page)
    fill(page, "te_create_name", "<img src=x onerror=alert(1)>")
    page.click("#te_create_button")
    page.wait_for_selector("#te_create_status [role=alert]")
    assert page.locator("#te_create_status img").count() == 0
    status = wait_for(lambda: page.inner_text("#te_create_status"))
    assert "<img" in status
