"""The main job on each sample set, with the checkpoint that the package holds."""

from __future__ import annotations

import json
import threading
from dataclasses import fields
from pathlib import Path

import pytest
from PIL import Image

from train_embedding.demo import heldout, run
from train_embedding.demo.run import DemoResult, run_demo
from train_embedding.demo.sets import SETS
from train_embedding.embeddings.formats import read_embedding
from train_embedding.engine.training import loop
from train_embedding.errors import InvalidInput, TrainingFailed
from train_embedding.services.json_values import to_json
from train_embedding.services.training.runs import Runs, RunState

KEYS = [
    "embedding", "steps", "seconds", "loss_before", "loss_after", "standard_error",
    "concept_distance_before", "concept_distance_after", "sheet",
]  # fmt: skip


def test_no_such_set(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match='There is no sample set "cat"') as caught:
        run_demo("cat", tmp_path)
    assert "lime" in caught.value.hint


@pytest.mark.checkpoint
def test_a_run_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = loop.batch_loss
    monkeypatch.setattr(loop, "batch_loss", lambda *arguments: real(*arguments) * float("nan"))
    with pytest.raises(TrainingFailed, match="NaN or infinite at step 1"):
        run_demo("lime", tmp_path, say=lambda _sentence: None)


@pytest.mark.checkpoint
@pytest.mark.slow
def test_it_can_be_watched_and_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "_REPEATS", 2)
    monkeypatch.setattr(run, "_IMAGES_PER_PROMPT", 4)
    monkeypatch.setattr(heldout, "STEPS", 2)

    def follow(runs: Runs, state: RunState) -> RunState:
        while (now := runs.get(state.id)).step < 1:
            assert now.active, now.error
            threading.Event().wait(0.05)
        runs.stop(state.id)
        return runs.wait(state.id)

    sentences: list[str] = []
    result = run_demo("checker", tmp_path, follow=follow, say=sentences.append)
    assert 1 <= result.steps < 248
    assert 1 <= (read_embedding(Path(result.embedding)).step or 0) <= result.steps
    assert sentences[0] == 'Created my-checker from the text "striped", with 2 vectors.'
    assert [field.name for field in fields(DemoResult)] == KEYS == list(json.loads(json.dumps(to_json(result))))
    with Image.open(result.sheet) as sheet:
        assert sheet.width > 8 * 128
    assert run_demo("checker", tmp_path, follow=follow, say=sentences.append).steps >= 1  # over what is there


@pytest.mark.checkpoint
@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_it_learns(tmp_path: Path, name: str) -> None:
    result = run_demo(name, tmp_path, say=lambda _sentence: None)
    assert result.loss_before - result.loss_after > 5 * result.standard_error > 0
    if name != "arch":  # a ring overlaps with an arch more than the varied images of a short run do
        assert result.concept_distance_after < result.concept_distance_before
    embedding = read_embedding(Path(result.embedding))
    assert (embedding.name, embedding.checkpoint_name) == (f"my-{name}", "demo")
    assert 0 < (embedding.step or 0) <= result.steps <= 248
    assert Path(result.sheet).is_file()
