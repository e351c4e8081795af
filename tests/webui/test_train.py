"""Training in the WebUI: in its queue, in its progress, stopped by its button, seen again by a new page, leaving no trace."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.pages import wait_for_polls
from tests.webui.server import (
    PATIENCE,
    PREFIX,
    ROUTES,
    WebUI,
    choose_dataset,
    fill,
    host_card,
    show_sub_tab,
    show_tab,
    step_kept,
    unfold_advanced,
    vectors_in,
    wait_for,
)

NAME = f"{PREFIX}train"
SMALL = {"batch_size": 2, "width": 64, "height": 64, "preview_steps": 3, "preview_every": 0, "save_every": 0}

BEGINS = 10_000 * PATIENCE
"""Milliseconds to wait for a step. Before the first one, the loss of 33 starts is computed, which took 8 seconds of CPU time in
the WebUI."""


def start(webui: WebUI, pictures: Path, **fields: Any) -> str:
    given = {"embedding": NAME, "dataset": str(pictures), "early_stopping": False, **SMALL, **fields}
    return webui.post(f"{ROUTES}/runs", given)["id"]


@pytest.fixture
def embedding(webui: WebUI) -> Path:
    webui.create(NAME, "tree", vectors=2)
    return webui.embeddings / f"{NAME}.pt"


def running(run: dict[str, Any]) -> bool:
    assert not run["error"], run
    return run["status"] == "running" and run["step"] > 0


def test_a_run_trains_and_its_result_is_used_at_once(webui: WebUI, embedding: Path, pictures: Path) -> None:
    before, picture = vectors_in(embedding), webui.picture(f"a {NAME}")
    run = webui.wait_for_run(start(webui, pictures, steps=6, save_every=3))
    assert (run["status"], run["step"], run["error"]) == ("finished", 6, "")
    assert run["files"][0] == str(embedding)
    assert not vectors_in(embedding).equal(before)
    assert webui.loaded()[NAME]["step"] == step_kept(embedding, 6)
    assert webui.picture(f"a {NAME}") != picture
    snapshots = [Path(file) for file in run["files"][1:]]
    assert len(snapshots) == 2
    assert all(file.is_file() for file in snapshots)


def test_pictures_without_the_embedding_are_bit_identical_after_training(webui: WebUI, embedding: Path, pictures: Path) -> None:
    prompts = [("a red star on a navy background", ""), ("a photo of a tree", "blurry, grey")]
    before = [webui.picture(*prompt) for prompt in prompts]
    run = webui.wait_for_run(start(webui, pictures, steps=5, preview_every=2))
    assert run["status"] == "finished", run
    assert [webui.picture(*prompt) for prompt in prompts] == before


def test_the_webuis_progress_shows_the_run_and_ends_with_it(webui: WebUI, embedding: Path, pictures: Path) -> None:
    run_id = start(webui, pictures, steps=100_000)
    webui.wait_for_run(run_id, running)
    first = wait_for(lambda: webui.get("/sdapi/v1/progress"), lambda progress: progress["state"]["job_no"] > 0)
    assert first["state"]["job_count"] == 100_000
    assert NAME in first["state"]["job"]
    assert "loss" in first["textinfo"]
    assert 0 < first["progress"] < 1
    assert first["eta_relative"] > 0
    later = wait_for(
        lambda: webui.get("/sdapi/v1/progress"), lambda progress: progress["state"]["job_no"] > first["state"]["job_no"]
    )
    assert later["progress"] > first["progress"]
    webui.post(f"{ROUTES}/runs/{run_id}/stop")
    assert webui.wait_for_run(run_id)["status"] == "stopped"
    idle = webui.get("/sdapi/v1/progress")
    assert (idle["progress"], idle["state"]["job"], idle["state"]["interrupted"]) == (0, "", False)


def test_interrupt_stops_the_run_and_keeps_the_result(webui: WebUI, embedding: Path, pictures: Path) -> None:
    before = vectors_in(embedding)
    run_id = start(webui, pictures, steps=100_000)
    webui.wait_for_run(run_id, running)
    webui.post("/sdapi/v1/interrupt")
    run = webui.wait_for_run(run_id)
    assert (run["status"], run["error"]) == ("stopped", "")
    assert 0 < run["step"] < 100_000
    assert not vectors_in(embedding).equal(before)
    assert webui.loaded()[NAME]["step"] == step_kept(embedding, run["step"])


def test_pictures_are_made_between_two_steps_and_are_as_they_would_have_been(
    webui: WebUI, embedding: Path, pictures: Path
) -> None:
    alone = webui.picture("a red star", seed=7)
    run_id = start(webui, pictures, steps=100_000)
    webui.wait_for_run(run_id, running)
    for _ in range(3):
        before = webui.run(run_id)["step"]
        assert webui.picture("a red star", seed=7) == alone
        webui.wait_for_run(run_id, lambda run, before=before: run["step"] > before)
    assert webui.run(run_id)["status"] == "running"
    webui.post(f"{ROUTES}/runs/{run_id}/stop")
    assert webui.wait_for_run(run_id)["status"] == "stopped"
    assert webui.picture("a red star", seed=7) == alone


def test_a_run_waits_for_a_picture_under_way(webui: WebUI, embedding: Path, pictures: Path) -> None:
    size = {"width": 64, "height": 64, "steps": 150, "batch_size": 4, "n_iter": 20}
    drawing = threading.Thread(target=lambda: webui.post("/sdapi/v1/txt2img", {"prompt": "a tree", **size}))
    drawing.start()
    wait_for(lambda: webui.get("/sdapi/v1/progress")["state"]["sampling_step"], lambda step: step > 0)
    run_id = start(webui, pictures, steps=2)
    time.sleep(1)
    assert webui.run(run_id)["status"] == "queued"
    webui.post("/sdapi/v1/interrupt")
    drawing.join(10 * PATIENCE)
    assert webui.wait_for_run(run_id)["status"] == "finished"


def test_a_stop_before_the_first_step_loses_nothing(webui: WebUI, embedding: Path, pictures: Path) -> None:
    before = embedding.read_bytes()
    run_id = start(webui, pictures, steps=1000)
    webui.post(f"{ROUTES}/runs/{run_id}/stop")
    run = webui.wait_for_run(run_id)
    assert run["status"] == "stopped"
    assert embedding.read_bytes() == before or run["step"] > 0


def test_previews_are_the_webuis_pictures_and_never_stale(webui: WebUI, embedding: Path, pictures: Path) -> None:
    start_picture = webui.picture(f"a {NAME}", "grey")
    preview = {
        "preview_prompt": "a [name]",
        "preview_negative_prompt": "grey",
        "preview_steps": 4,
        "preview_guidance": 5,
        "preview_seed": 1,
    }
    run = webui.wait_for_run(
        start(webui, pictures, steps=6, preview_every=2, learning_rate="0.05", choose_start_words=False, **preview)
    )
    assert run["status"] == "finished", run
    made = [_pixels(Path(file)) for file in run["previews"]]
    assert len(made) == 4, "before the first step, and after 2, 4 and 6"
    assert len(set(made)) == 4, "two previews are the same picture"
    assert made[0] == start_picture
    assert made[-1] == webui.picture(f"a {NAME}", "grey"), "the last preview is what the person will get"


def test_creating_goes_on_during_a_run(webui: WebUI, embedding: Path, pictures: Path) -> None:
    run_id = start(webui, pictures, steps=100_000)
    webui.wait_for_run(run_id, running)
    created = webui.create(f"{PREFIX}meanwhile", "a big tree")
    assert (created["vectors"], created["loaded"]) == (3, True)
    assert webui.run(run_id)["status"] == "running"
    second = webui.call("POST", f"{ROUTES}/runs", {"embedding": f"{PREFIX}meanwhile", "dataset": str(pictures), **SMALL})
    assert second.status == 409


def test_the_tab_starts_a_run_and_shows_how_it_goes(
    page: Any, open_page: Callable[[], Any], webui: WebUI, embedding: Path, pictures: Path
) -> None:
    _start_in_tab(page, pictures, steps=100_000)
    progress = page.locator("#te_train_progress")
    progress.locator("[data-status=running]").wait_for()
    page.wait_for_function(
        "/step [1-9]\\d* of 50000 .* left.* loss \\d/.test(document.getElementById('te_train_progress').textContent)",
        timeout=BEGINS,
    )
    first = _step(page)
    page.wait_for_function(f"Number(document.querySelector('#te_train_progress [data-step]').dataset.step) > {first}")
    page.wait_for_selector("#te_train_plot .vega-embed canvas")
    page.context.close()  # the browser is gone; training is not
    run = webui.get(f"{ROUTES}/runs")[0]
    webui.wait_for_run(run["id"], lambda now: now["step"] > run["step"])
    again = open_page()
    show_tab(again, "Train Embedding")
    again.locator("#te_train_progress [data-status=running]").wait_for()
    assert _step(again) >= run["step"]
    again.click("#te_train_stop")
    again.locator("#te_train_progress [data-status=stopped]").wait_for()
    assert re.search(r"Stopped te-test-train after \d+ steps?", again.inner_text("#te_train_status"))
    stopped = webui.get(f"{ROUTES}/runs")[0]["step"]
    assert stopped > 0
    assert webui.loaded()[NAME]["step"] == step_kept(embedding, stopped)


def test_the_interrupt_button_of_the_webuis_page_stops_it(page: Any, webui: WebUI, embedding: Path, pictures: Path) -> None:
    run_id = start(webui, pictures, steps=100_000)
    webui.wait_for_run(run_id, running)
    show_tab(page, "txt2img")
    page.evaluate("document.querySelector('#txt2img_interrupt').click()")  # it shows while the page's own picture is made
    wait_for_polls(page)  # requests of the page go through this thread
    assert webui.wait_for_run(run_id)["status"] == "stopped"


def test_the_trained_embedding_is_used_from_the_tab_to_the_picture(
    page: Any, webui: WebUI, embedding: Path, pictures: Path
) -> None:
    _start_in_tab(page, pictures, steps=4)
    page.locator("#te_train_progress [data-status=finished]").wait_for(timeout=BEGINS)
    show_tab(page, "txt2img")
    page.locator("#txt2img_extra_tabs > .tab-nav button", has_text="Textual Inversion").click()
    page.focus("#txt2img_prompt textarea")
    host_card(page, "txt2img", NAME).dblclick()
    assert page.input_value("#txt2img_prompt textarea") == NAME


def _start_in_tab(page: Any, pictures: Path, steps: int) -> None:
    show_sub_tab(page, "Library")
    page.click("#te_library_refresh")
    page.locator(f"#te_library_cards [data-name='{NAME}']").wait_for()
    show_sub_tab(page, "Train")
    page.click("#te_train_embedding input")
    page.fill("#te_train_embedding input", NAME)
    page.keyboard.press("Enter")
    choose_dataset(page, str(pictures))
    unfold_advanced(page)
    for field, value in ({**SMALL, "steps": steps}).items():
        fill(page, f"te_train_{field}", str(value))
    page.click("#te_train_button")


def _step(page: Any) -> int:
    return int(page.get_attribute("#te_train_progress [data-step]", "data-step"))


def _pixels(file: Path) -> bytes:
    from PIL import Image

    with Image.open(file) as image:
        return image.convert("RGB").tobytes()
