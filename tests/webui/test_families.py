"""Families in the WebUI: the same numbers as its own forward, and an embedding from its creation to its use in a prompt.

Needs the extension and one of the checkpoints that `python -m tests.webui.maker` writes; skipped without.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.webui.server import PREFIX, ROUTES, WebUI, step_kept, tables_in, vectors_in

NAME = f"{PREFIX}family"
WIDTHS = {"SD1": {"clip_l": 768}, "SD2": {"clip_h": 1024}, "SDXL": {"clip_l": 768, "clip_g": 1280}}
SMALL = {
    "batch_size": 2,
    "width": 64,
    "height": 64,
    "steps": 8,
    "learning_rate": "0.05",
    "preview_steps": 2,
    "early_stopping": False,
}


@pytest.fixture(scope="module")
def compared(webui: WebUI) -> dict[str, Any]:
    answer = webui.call("GET", "/te-test/compare")
    if answer.status == 404:
        pytest.skip("needs the extension that tests/webui/maker.py puts into the WebUI")
    assert answer.status == 200, answer
    if answer.body["family"] not in WIDTHS:
        pytest.skip("needs a checkpoint of a family")
    return answer.body


def test_the_numbers_are_those_of_the_webui(compared: dict[str, Any]) -> None:
    for part in ("context", "pooled", "prediction", "decoded"):
        assert compared[part] <= 1e-4, compared
    assert compared["alphas"] <= 1e-6


def test_every_weight_is_shared(compared: dict[str, Any]) -> None:
    assert len(compared["shared"]) == 2 + len(WIDTHS[compared["family"]])
    assert all(shared == total > 0 for shared, total in compared["shared"])


def test_an_embedding_of_a_text_draws_what_the_text_draws(webui: WebUI, compared: dict[str, Any]) -> None:
    webui.create(NAME, "a big red star")
    (file,) = webui.embeddings.glob(f"{NAME}.*")
    widths = [table.shape[1] for table in tables_in(file).values()]
    assert widths == list(WIDTHS[compared["family"]].values())
    if compared["family"] == "SDXL":
        assert set(tables_in(file)) == {"clip_l", "clip_g"}
    assert webui.loaded()[NAME]["vectors"] == 4
    assert webui.picture(f"on {NAME} here") == webui.picture("on a big red star here") != webui.picture("on here")


@pytest.mark.parametrize("count", [2, 4, 7])
def test_the_values_are_those_that_the_webui_writes(webui: WebUI, compared: dict[str, Any], count: int) -> None:
    if reason := webui.why_it_creates_none:
        pytest.skip(reason)
    if compared["family"] == "SDXL":
        pytest.skip("the WebUI writes no SDXL embeddings that it could read")
    ours, theirs = f"{NAME}-ours", f"{NAME}-theirs"
    webui.create(ours, "a big red star", vectors=count)
    fields = {"name": theirs, "num_vectors_per_token": count, "overwrite_old": False, "init_text": "a big red star"}
    assert "error" not in webui.post("/sdapi/v1/create/embedding", fields)["info"]
    one, other = (vectors_in(webui.embeddings / f"{name}.pt") for name in (ours, theirs))
    assert one.equal(other)


def test_a_run_trains_every_encoder_and_leaves_the_webui_as_it_was(
    webui: WebUI, compared: dict[str, Any], pictures: Path
) -> None:
    webui.create(NAME, "tree", vectors=2)
    (file,) = webui.embeddings.glob(f"{NAME}.*")
    before, untrained, plain = tables_in(file), webui.picture(f"a {NAME}"), webui.picture("a red star")
    fields = {"embedding": NAME, "dataset": str(pictures), **SMALL, "preview_every": 4, "save_every": 0}
    run = webui.wait_for_run(webui.post(f"{ROUTES}/runs", fields)["id"])
    assert (run["status"], run["error"]) == ("finished", ""), run
    assert not [note for note in run["notes"] if "preview" in note], run
    after = tables_in(file)
    assert set(after) == set(before)
    assert not any(after[key].equal(before[key]) for key in before)
    assert webui.loaded()[NAME]["step"] == step_kept(file, 8)
    assert webui.picture(f"a {NAME}") != untrained
    assert webui.picture("a red star") == plain
