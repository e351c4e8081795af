"""Steps and embeddings compared in the browser: opened where a training has ended, drawn, enlarged, used and undone."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("gradio")

from tests.standalone_app import App, choose_card, create, fill, open_page, serve_app, sub_tab, text, train, value, wait
from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.formats import read_embedding
from train_embedding.hosts.standalone import DEMO_CHECKPOINT

pytestmark = [
    pytest.mark.browser,
    pytest.mark.checkpoint,
    pytest.mark.slow,
    pytest.mark.skipif(not DEMO_CHECKPOINT.is_file(), reason="the demo checkpoint is not there"),
]

GRID = "#te_compare_grid .te-comparison"


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    data = tmp_path_factory.mktemp("data")
    settings = {"learning_rate": "0.05", "eval_every": 2, "early_stopping": False, "preview_every": 0, "save_every": 0}
    (data / "runs").mkdir()
    (data / "runs" / "settings.json").write_text(json.dumps(settings))
    with serve_app(data) as running:
        yield running


def is_same(one: Embedding, other: Embedding) -> bool:
    return all(torch.equal(one.vectors[key], other.vectors[key]) for key in one.vectors)


def drawn(ui: Any) -> None:
    """Waits for the end of the drawing, and until the browser has loaded the images in view."""
    wait(ui, lambda: ui.locator(f'{GRID}[data-active="false"] button.te-cell').count() > 0, "the images")
    first = "#te_compare_grid button.te-cell img"
    wait(ui, lambda: ui.eval_on_selector(first, "image => image.complete && image.naturalWidth > 0"), "the first image", 30)


def test_steps_are_compared_and_another_one_is_used(page: Any, app: App) -> None:
    open_page(app, page)
    create(page, "grid-cat", "green")
    ended = train(page, "grid-cat", steps="8")
    run, file = app.data / "runs" / ended["run"], app.data / "embeddings" / "grid-cat.pt"
    trained = file.read_bytes()

    page.click("#te_train_compare")
    wait(page, lambda: page.locator(f'{GRID}[data-run="{ended["run"]}"]').count() == 1, "the comparison", 60)
    assert "Kept steps: 0, 2, …, 8." in text(page, "te_compare_grid")
    assert value(page, "te_compare_prompts") == "[name]"
    fill(page, "te_compare_prompts", "a [name] star\n[name]")
    fill(page, "te_compare_sampling_steps", "2")
    fill(page, "te_compare_steps", "0, 4, 8")
    page.click("#te_compare_draw")
    drawn(page)
    cells = page.locator("#te_compare_grid button.te-cell")
    assert cells.count() == 6
    assert len(list((run / "comparison").glob("*.png"))) == 6
    assert page.locator("#te_compare_grid .te-in-use").get_attribute("data-step") == "8"

    cells.nth(1).click()
    large = page.locator("#te_compare_large[open] img")
    large.wait_for()
    assert large.get_attribute("alt") == "Start, [name]"
    page.keyboard.press("ArrowDown")
    assert large.get_attribute("alt") == "Step 4, [name]"
    wait(page, lambda: large.evaluate("image => image.naturalWidth") == 64, "the image in its own size", 30)
    page.keyboard.press("Escape")
    assert page.locator("#te_compare_large[open]").count() == 0

    page.click('#te_compare_grid .te-use-step[data-step="4"]')
    wait(page, lambda: "now has the vectors of step 4" in text(page, "te_compare_status"), "the use of a step", 60)
    assert is_same(read_embedding(file), read_embedding(run / "steps" / "0000004.safetensors"))
    assert not is_same(read_embedding(file), read_embedding(run / "steps" / "0000008.safetensors"))
    assert page.locator("#te_compare_grid .te-in-use").get_attribute("data-step") == "4"

    page.click("#te_compare_undo")
    wait(page, lambda: "is back" in text(page, "te_compare_status"), "the undo", 60)
    assert file.read_bytes() == trained
    assert page.locator("#te_compare_grid .te-in-use").get_attribute("data-step") == "8"
    assert not page.locator("#te_compare_undo").is_visible()

    address = page.locator("#te_compare_grid a").get_attribute("href")
    assert re.fullmatch(rf"train-embedding/images/runs/{ended['run']}/grid\.png", address)
    assert page.request.get(app.address + address).body()[:4] == b"\x89PNG"


def test_drawing_is_stopped_and_continued(page: Any, app: App) -> None:
    open_page(app, page)
    create(page, "stopped-cat", "green")
    ended = train(page, "stopped-cat", steps="4")
    page.click("#te_train_compare")
    wait(page, lambda: page.locator(f'{GRID}[data-run="{ended["run"]}"]').count() == 1, "the comparison", 60)
    fill(page, "te_compare_prompts", "\n".join(f"{number} [name]" for number in range(6)))
    fill(page, "te_compare_sampling_steps", "20")
    page.click("#te_compare_draw")
    page.locator(f'{GRID}[data-active="true"]').wait_for()
    wait(page, lambda: page.locator("#te_compare_stop button:enabled, button#te_compare_stop:enabled").count() > 0, "Stop", 30)
    page.click("#te_compare_stop")
    wait(page, lambda: "generates the rest" in text(page, "te_compare_grid"), "the stop", 60)
    folder = app.data / "runs" / ended["run"] / "comparison"
    kept = _stamps(folder)
    assert 0 <= len(kept) < 18
    assert page.locator("#te_compare_grid .te-missing").count() == 18 - len(kept)
    page.click("#te_compare_draw")
    wait(page, lambda: "18 of 18 images" in text(page, "te_compare_grid"), "the rest of the images")
    assert kept.items() <= _stamps(folder).items()


def test_embeddings_are_compared_on_the_library(page: Any, app: App) -> None:
    open_page(app, page)
    for name, text_of in (("red-one", "red"), ("blue-one", "blue")):
        create(page, name, text_of)
    for name in ("red-one", "blue-one"):
        choose_card(page, name)
        page.click("#te_library_together")
        page.wait_for_selector("#te_together_draw:visible")
        wait(page, lambda name=name: name in page.locator("#te_together_embeddings").inner_text(), f"{name} among the chosen", 60)
    fill(page, "te_together_prompts", "[name]\na [name] star")
    fill(page, "te_together_sampling_steps", "2")
    page.click("#te_together_draw")
    wait(page, lambda: "4 of 4 images" in text(page, "te_together_grid"), "the images")
    cells = page.locator("#te_together_grid button.te-cell")
    assert cells.count() == 4
    cells.nth(0).click()
    large = page.locator("#te_compare_large[open] img")
    large.wait_for()
    assert large.get_attribute("alt") == "red-one, [name]"
    page.keyboard.press("ArrowDown")
    assert large.get_attribute("alt") == "blue-one, [name]"
    page.keyboard.press("Escape")
    assert page.request.get(app.address + "train-embedding/images/embeddings/grid.png").body()[:4] == b"\x89PNG"

    page.reload()
    open_page(app, page)
    sub_tab(page, "Library")
    page.locator("#te_together .label-wrap").click()
    wait(page, lambda: page.locator("#te_together_grid button.te-cell").count() == 4, "the grid again", 60)
    wait(page, lambda: value(page, "te_together_prompts") == "[name]\na [name] star", "its prompts", 30)
    assert "blue-one" in page.locator("#te_together_embeddings").inner_text()


def _stamps(folder: Path) -> dict[str, int]:
    return {file.name: file.stat().st_mtime_ns for file in folder.glob("*.png")}
