"""An artist's way in the WebUI's tab: images, captions, a queue of trainings, and the choice of another step."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.dragging import drop
from tests.webui.server import PATIENCE, PREFIX, ROUTES, WebUI, fill, show_sub_tab, unfold_advanced, vectors_in, wait_for

NAME = f"{PREFIX}way"
DATASET = f"{PREFIX}images"
SMALL = {"batch_size": 2, "width": 64, "height": 64, "preview_every": 0, "save_every": 0, "eval_every": 2}


@pytest.fixture
def dataset(webui: WebUI) -> Iterator[str]:
    """The name of a dataset that does not exist yet; it is deleted afterwards."""
    yield DATASET
    webui.call("POST", f"{ROUTES}/datasets/delete", {"folder": DATASET})


@pytest.fixture
def trained(webui: WebUI) -> Path:
    webui.create(NAME, "tree", vectors=2)
    return webui.embeddings / f"{NAME}.pt"


def queued(webui: WebUI) -> list[dict[str, Any]]:
    return [entry for entry in webui.get(f"{ROUTES}/queue")["entries"] if entry["embedding"] == NAME]


def test_from_dropped_images_to_another_step(page: Any, webui: WebUI, trained: Path, dataset: str, pictures: Path) -> None:
    show_sub_tab(page, "Dataset")
    fill(page, "te_dataset_name", dataset)
    drop(page, sorted(pictures.glob("*.png")), "#te_dataset")
    page.wait_for_selector('#te_dataset_list .te-dataset[data-updating="false"] .te-image')
    assert page.locator("#te_dataset_list .te-image").count() == 6
    page.click("#te_dataset_use")
    page.wait_for_selector("#te_tab_train:visible")
    page.wait_for_function(f"document.querySelector('#te_train_dataset input').value === {json.dumps(dataset)}")
    _choose_embedding(page)
    unfold_advanced(page)
    for field, value in ({**SMALL, "steps": 6}).items():
        fill(page, f"te_train_{field}", str(value))
    for number in range(1, 3):
        fill(page, "te_train_seed", str(number))
        page.click("#te_train_enqueue")
        wait_for(lambda number=number: len(queued(webui)), lambda count, number=number: count == number)
    ended = wait_for(
        lambda: queued(webui), lambda entries: all(entry["status"] == "finished" for entry in entries), 10 * PATIENCE
    )
    before = vectors_in(trained)

    show_sub_tab(page, "Runs")
    page.click(f'#te_runs_list .te-run[data-run="{ended[-1]["run"]}"]')
    page.click("#te_runs_compare")
    fill(page, "te_compare_steps", "0, 2")
    fill(page, "te_compare_sampling_steps", "2")
    page.click("#te_compare_draw")
    page.wait_for_selector('#te_compare_grid .te-comparison[data-active="false"] button.te-cell img')
    page.click('#te_compare_grid .te-use-step[data-step="2"]')
    page.get_by_text("now has the vectors of step 2").wait_for()
    assert not vectors_in(trained).equal(before)
    page.click("#te_compare_undo")
    page.get_by_text("is back").wait_for()
    assert vectors_in(trained).equal(before)


def test_captions_by_the_webuis_own_interrogator(webui: WebUI, dataset: str, pictures: Path) -> None:
    found = {one["name"]: one["problem"] for one in webui.get(f"{ROUTES}/datasets/interrogators")}
    if not found:
        pytest.skip("the program has no interrogators")
    assert found.keys() == {"blip", "deepbooru"}
    files = [{"path": str(file)} for file in sorted(pictures.glob("*.png"))[:2]]
    webui.post(f"{ROUTES}/datasets/create", {"name": dataset, "files": files})
    asked = {"folder": dataset, "interrogator": "deepbooru", "prefix": f"{NAME}, "}
    webui.post(f"{ROUTES}/datasets/captions/generate", asked)
    job = wait_for(
        lambda: webui.get(f"{ROUTES}/datasets/captions/job"), lambda job: job["status"] in ("finished", "failed"), 10 * PATIENCE
    )
    if found["deepbooru"]:
        assert (job["status"], job["error"]) == ("failed", found["deepbooru"])
        pytest.skip("needs DeepDanbooru's model, or the file that tests/webui/interrogators.py writes in its place")
    assert (job["status"], job["written"], job["skipped"]) == ("finished", 2, [])
    captions = [caption["caption"] for caption in webui.post(f"{ROUTES}/datasets/captions", {"folder": dataset})]
    assert all(caption.startswith(f"{NAME}, ") and len(caption) > len(NAME) + 2 for caption in captions)


def _choose_embedding(page: Any) -> None:
    show_sub_tab(page, "Library")
    page.click("#te_library_refresh")
    page.click(f"#te_library_cards [data-name='{NAME}']")
    page.click("#te_library_train")
    page.wait_for_selector("#te_tab_train:visible")
