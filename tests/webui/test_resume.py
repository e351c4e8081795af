"""Resuming a run in the WebUI after Stop, Interrupt, a killed process and another checkpoint: to the same bits each time."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.webui.server import (
    PATIENCE,
    PREFIX,
    ROUTES,
    StartedWebUI,
    WebUI,
    draw_pictures,
    show_tab,
    step_kept,
    tables_in,
    vectors_in,
)

NAME = f"{PREFIX}resume"
SPEC: dict[str, Any] = {
    "steps": 60, "batch_size": 2, "width": 64, "height": 64, "preview_every": 0, "save_every": 3, "eval_every": 20,
    "learning_rate": "0.005", "early_stopping": False, "latent_sampling": "random", "random_flip": True,
}  # fmt: skip


def start(webui: WebUI, pictures: Path) -> str:
    webui.create(NAME, "tree", vectors=2, overwrite=True)
    return webui.post(f"{ROUTES}/runs", {"embedding": NAME, "dataset": str(pictures), **SPEC})["id"]


def far_enough(run: dict[str, Any]) -> bool:
    """Beyond the first saving, and before the end."""
    assert run["active"], run
    return run["status"] == "running" and run["step"] >= 6


def resumed(webui: WebUI, run_id: str) -> dict[str, Any]:
    """Resumes the run, and waits for its end."""
    stopped = webui.run(run_id)
    assert 0 < stopped["step"] < SPEC["steps"], stopped
    webui.post(f"{ROUTES}/runs/{run_id}/resume")
    run = webui.wait_for_run(run_id)
    assert (run["status"], run["step"], run["error"], run["hint"]) == ("finished", SPEC["steps"], "", ""), run
    return run


def trained(webui: WebUI) -> Any:
    return vectors_in(webui.embeddings / f"{NAME}.pt")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_pictures(tmp_path_factory.mktemp("resume"))


@pytest.fixture(scope="module")
def uninterrupted(webui: WebUI, pictures: Path) -> Any:
    run = webui.wait_for_run(start(webui, pictures))
    assert (run["status"], run["error"]) == ("finished", "")
    return trained(webui)


def test_stop_and_resume(webui: WebUI, pictures: Path, uninterrupted: Any) -> None:
    run_id = start(webui, pictures)
    webui.wait_for_run(run_id, far_enough)
    webui.post(f"{ROUTES}/runs/{run_id}/stop")
    assert webui.wait_for_run(run_id)["status"] == "stopped"
    run = resumed(webui, run_id)
    assert trained(webui).equal(uninterrupted)
    assert webui.loaded()[NAME]["step"] == step_kept(webui.embeddings / f"{NAME}.pt", run["best_step"] or run["step"])


def test_interrupt_and_resume(webui: WebUI, pictures: Path, uninterrupted: Any) -> None:
    run_id = start(webui, pictures)
    webui.wait_for_run(run_id, far_enough)
    webui.post("/sdapi/v1/interrupt")
    assert webui.wait_for_run(run_id)["status"] == "stopped"
    resumed(webui, run_id)
    assert trained(webui).equal(uninterrupted)


def test_the_pages_buttons_interrupt_and_resume(page: Any, webui: WebUI, pictures: Path, uninterrupted: Any) -> None:
    run_id = start(webui, pictures)
    webui.wait_for_run(run_id, far_enough)
    page.evaluate("document.querySelector('#txt2img_interrupt').click()")  # it shows while the page's own picture is made
    show_tab(page, "Train Embedding")
    page.locator("#te_train_progress [data-status=stopped]").wait_for()
    assert webui.run(run_id)["step"] < SPEC["steps"]
    page.locator("#te_train_resume:not([disabled])").click()
    page.locator("#te_train_progress [data-status=finished]").wait_for(timeout=10_000 * PATIENCE)
    assert webui.run(run_id)["status"] == "finished"
    assert trained(webui).equal(uninterrupted)


def test_another_checkpoint_ends_a_run_that_names_its_own_and_can_be_resumed(
    webui: WebUI, pictures: Path, uninterrupted: Any, other_checkpoint: str
) -> None:
    before = webui.checkpoint
    run_id = start(webui, pictures)
    webui.wait_for_run(run_id, far_enough)
    webui.choose_checkpoint(other_checkpoint)
    stopped = webui.wait_for_run(run_id)
    file = webui.embeddings / f"{NAME}.pt"
    assert_trained_on(webui, file, before)
    if webui.is_forge:  # which loads the chosen checkpoint with its next picture
        assert (stopped["status"], stopped["error"]) == ("finished", "")
        return
    assert (stopped["status"], stopped["error"]) == ("stopped", "")
    assert [note for note in stopped["notes"] if "loaded another checkpoint" in note]
    webui.choose_checkpoint(before)
    run = resumed(webui, run_id)
    assert [note for note in run["notes"] if "checkpoint" in note] == []
    assert trained(webui).equal(uninterrupted)
    assert_trained_on(webui, file, before)


def assert_trained_on(webui: WebUI, file: Path, name: str) -> None:
    if "clip_l" in tables_in(file):
        return  # SDXL's form has no place for it
    model = webui.checkpoints()[name]
    details = webui.get(f"{ROUTES}/embeddings/{NAME}")
    assert details["checkpoint_name"] == model["model_name"]
    assert details["checkpoint_hash"] == model["hash"]


def test_a_killed_webui_is_started_again_and_resumes(
    webui: WebUI, pictures: Path, uninterrupted: Any, start_one: Callable[[], StartedWebUI]
) -> None:
    killed = start_one()
    run_id = start(killed.webui, pictures)
    killed.webui.wait_for_run(run_id, far_enough)
    time.sleep(0.3)
    killed.kill()
    again = start_one().webui
    found = again.run(run_id)
    assert (found["status"], found["active"]) == ("interrupted", False)
    resumed(again, run_id)
    assert trained(webui).equal(uninterrupted)
