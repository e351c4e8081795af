"""The vectors of steps that a run keeps, so that one of them can be chosen later."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.checkpoints import pictures
from tests.training import Trainee, trainee
from train_embedding.embeddings.formats import read_embedding
from train_embedding.errors import NotFound
from train_embedding.services.training import kept_steps as module
from train_embedding.services.training.kept_steps import FOLDER, KeptSteps, kept_steps, read_step, surplus_of

__all__ = ["pictures", "trainee"]


def same(one: Any, other: Any) -> bool:
    return all(torch.equal(one.vectors[key], other.vectors[key]) for key in one.vectors)


def test_the_start_evaluated_steps_previews_snapshots_and_the_last_step_are_kept(trainee: Trainee) -> None:
    state = trainee.run(steps=9, eval_every=4, preview_every=3, save_every=5, preview_steps=1, keep="last")
    assert kept_steps(state) == [0, 3, 4, 5, 6, 8, 9]
    assert same(read_step(state, 0), read_embedding(state.folder / "start.pt"))
    snapshot = read_embedding(state.folder / "snapshots" / f"{state.embedding}-5.pt")
    assert same(read_step(state, 5), snapshot)
    assert read_step(state, 5).step == snapshot.step == 10 + 5


def test_a_kept_step_is_what_the_previews_were_drawn_with_and_what_was_saved(trainee: Trainee) -> None:
    state = trainee.run(steps=6, eval_every=2, preview_every=3, preview_steps=1, keep="last", ema_decay=0.5)
    drawn = {request.embeddings[0].step: request.embeddings[0] for request in trainee.host.requests}
    assert all(same(read_step(state, step), drawn[10 + step]) for step in (0, 3, 6))
    assert state.saved_step == 6
    saved, kept = trainee.embedding(), read_step(state, 6)
    assert same(saved, kept)
    facts = ("name", "step", "checkpoint_name", "checkpoint_hash")
    assert [getattr(kept, fact) for fact in facts] == [getattr(saved, fact) for fact in facts]


def test_the_step_that_the_run_chose_is_kept_even_if_it_was_thinned_out(
    trainee: Trainee, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_EVALUATED", 2)
    state = trainee.run(steps=8, eval_every=1, keep="best")
    assert state.saved_step is None or state.saved_step in kept_steps(state)
    assert {0, 4, 8} <= set(kept_steps(state)) | {4}
    assert len(kept_steps(state)) <= 2 + 2


@pytest.mark.parametrize(
    ("count", "kept"), [(3, [0, 1, 2]), (4, [0, 1, 2, 3]), (5, [0, 2, 4]), (8, [0, 2, 4, 6]), (9, [0, 4, 8]), (17, [0, 8, 16])]
)
def test_every_second_evaluated_step_is_thinned_out_once_there_are_too_many(
    count: int, kept: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_EVALUATED", 4)
    evaluated = list(range(count))
    assert sorted(set(evaluated) - surplus_of(evaluated)) == kept


def test_steps_with_previews_are_not_thinned_out(trainee: Trainee, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_EVALUATED", 2)
    state = trainee.run(steps=8, eval_every=1, preview_every=3, preview_steps=1, keep="last")
    assert {0, 3, 6, 8} <= set(kept_steps(state))
    assert len(kept_steps(state)) < 8


def test_the_step_that_was_saved_is_not_thinned_out_when_the_run_is_resumed(
    trainee: Trainee, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_EVALUATED", 2)
    trainee.host.on_report = lambda progress: trainee.host.press_interrupt() if progress.step == 3 else None
    stopped = trainee.run(steps=8, eval_every=1, keep="last")
    trainee.host.on_report = lambda _progress: None
    assert (stopped.status, stopped.saved_step) == ("stopped", 3)
    resumed = trainee.wait(trainee.services.runs.resume(stopped.id))
    assert (resumed.status, resumed.saved_step) == ("finished", 8)
    assert 3 in kept_steps(resumed)


def test_a_resumed_run_keeps_the_same_vectors(trainee: Trainee) -> None:
    whole = trainee.run(steps=6, eval_every=2, save_every=2)
    expected = {step: read_step(whole, step) for step in kept_steps(whole)}
    trainee.reset()
    trainee.host.on_report = lambda progress: trainee.host.press_interrupt() if progress.step == 3 else None
    stopped = trainee.run(steps=6, eval_every=2, save_every=2)
    trainee.host.on_report = lambda _progress: None
    assert stopped.status == "stopped"
    resumed = trainee.wait(trainee.services.runs.resume(stopped.id))
    assert {0, 2, 4, 6} <= set(kept_steps(resumed))
    assert all(same(read_step(resumed, step), expected[step]) for step in expected)


def test_a_run_of_an_earlier_version_has_the_steps_in_the_file_that_it_is_resumed_from(trainee: Trainee) -> None:
    state = trainee.run(steps=6, eval_every=2, save_every=3)
    expected = {step: read_step(state, step) for step in (2, 4, 6)}
    for file in (state.folder / FOLDER).iterdir():
        file.unlink()
    assert kept_steps(state) == [0, 2, 3, 4, 6]
    assert all(same(read_step(state, step), expected[step]) for step in expected)
    assert read_step(state, 4).step == 10 + 4
    assert read_step(state, 4).checkpoint_name == state.checkpoint
    (state.folder / "resume.safetensors").write_bytes(b"damaged")
    assert kept_steps(state) == [0, 3, 6]  # the start and the snapshots
    with pytest.raises(NotFound, match="step 4"):
        read_step(state, 4)


def test_a_killed_process_leaves_nothing_that_counts_as_a_step(trainee: Trainee, tmp_path: Path) -> None:
    state = trainee.run(steps=2)
    folder = state.folder / FOLDER
    (folder / ".123-0123abcd.tmp").write_bytes(b"half")
    (folder / "0000001.safetensors.bak").write_bytes(b"other")
    assert kept_steps(state) == [0, 2]


def test_a_step_is_written_once(trainee: Trainee, tmp_path: Path) -> None:
    kept, embedding = KeptSteps(tmp_path), trainee.embedding()
    kept.keep(0, embedding)
    assert not (tmp_path / FOLDER).exists()  # the start has its own file
    kept.keep(3, embedding)
    file = tmp_path / FOLDER / "0000003.safetensors"
    before = file.stat().st_mtime_ns
    kept.keep(3, replace(embedding, step=99))
    assert file.stat().st_mtime_ns == before
