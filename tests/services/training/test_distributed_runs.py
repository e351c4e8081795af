"""Runs of several processes, simulated in one: the same run as one process with a batch as large as all of theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.checkpoints import pictures
from tests.processes import SimulatedProcesses
from tests.training import Trainee, new_trainee, trainee
from train_embedding.engine.training import loop
from train_embedding.engine.training.data_parallel import Worker
from train_embedding.engine.training.early_stopping import Verdict
from train_embedding.engine.training.resume import RESUME_FILE, read_resume
from train_embedding.errors import TrainingFailed
from train_embedding.services import Services
from train_embedding.services.run_records import RunState

__all__ = ["pictures", "trainee"]

SPEC: dict[str, Any] = {"steps": 8, "ema_decay": 0.5, "eval_every": 3, "lr_cooldown_steps": 2, "latent_sampling": "random"}
TOLERANCE = 1e-4
"Relative, as the guide gives it."


def together(folder: Path, made: Trainee, count: int = 2) -> Trainee:
    """Another trainee, in `folder`, whose runs are those of several processes."""
    other = new_trainee(folder, made.pictures)
    return simulated(other, count)


def simulated(made: Trainee, count: int) -> Trainee:
    assert made.host.the_model is not None
    return Trainee(made.host, Services(made.host, SimulatedProcesses(made.host.the_model, count)), made.pictures)


def saved(ended: RunState) -> dict[str, Any]:
    return read_resume(ended.folder / RESUME_FILE)["state"]


def assert_alike(one: RunState, several: RunState) -> None:
    assert (several.status, several.error, several.step, several.steps) == (one.status, "", one.step, one.steps)
    for name in ("vectors", "average"):
        ours, theirs = saved(one)[name]["clip_l"], saved(several)[name]["clip_l"]
        assert float((ours - theirs).norm() / ours.norm()) < TOLERANCE
    assert several.best_step == one.best_step
    assert len(several.evaluations) == len(one.evaluations)
    for ours, theirs in zip(one.evaluations, several.evaluations, strict=True):
        assert theirs == pytest.approx(ours, rel=TOLERANCE)
    assert [loss for _, loss in several.losses] == pytest.approx([loss for _, loss in one.losses], rel=TOLERANCE, abs=1e-7)


CHANGES: list[dict[str, Any]] = [
    {"gradient_accumulation_steps": 3, "random_flip": True, "max_grad_norm": 0.001},
    {"buckets": True, "latent_sampling": "once", "optimizer": "direction"},
    {
        "core_loss_weight": 0.5, "min_snr_gamma": 5.0, "template": ["a [name]", "[filewords] of [name]"],
        "caption_tag_dropout_rate": 0.3,
    },
    {"candidates": "blue circle, tree", "eval_every": 0},
    {"dataset": "", "teacher_prompt": "a big red star on a white background", "width": 16, "height": 16},
]  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {},
        *(pytest.param(changes, marks=pytest.mark.slow) for changes in CHANGES),
    ],
    ids=lambda changes: " ".join(changes) or "plain",
)
def test_two_with_batch_2_are_one_with_batch_4(trainee: Trainee, tmp_path: Path, changes: dict[str, Any]) -> None:
    two = together(tmp_path / "two", trainee)
    one = trainee.run(**{**SPEC, "batch_size": 4, **changes})
    several = two.run(**{**SPEC, "batch_size": 2, **changes})
    assert_alike(one, several)
    assert several.notes[-1] == "Trained by 2 processes with 4 images per batch."


@pytest.mark.slow
def test_three_with_batch_1_are_one_with_batch_3(trainee: Trainee, tmp_path: Path) -> None:
    three = together(tmp_path / "three", trainee, 3)
    assert_alike(trainee.run(**SPEC, batch_size=3), three.run(**SPEC, batch_size=1))


@pytest.mark.slow
def test_the_stop_rule_is_that_of_the_main_process(trainee: Trainee, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        loop, "judge", lambda evaluations, _floor: Verdict.CONVERGED if len(evaluations) == 3 else Verdict.UNDECIDED
    )
    two = together(tmp_path / "two", trainee)
    spec = {**SPEC, "steps": 50}
    one, several = trainee.run(**spec, batch_size=4), two.run(**spec, batch_size=2)
    assert_alike(one, several)
    assert several.step == 8
    processes: Any = two.services.runs._processes
    assert len(processes.tasks) == 1 + 8  # the setup and the steps; nothing for the evaluations


def stop_at(made: Trainee, step: int, **spec: Any) -> RunState:
    made.host.on_report = lambda progress: progress.step == step and made.services.runs.stop(made.services.runs.list()[0].id)
    stopped = made.run(**spec)
    made.host.on_report = lambda _progress: None
    assert (stopped.status, stopped.step) == ("stopped", step)
    return stopped


@pytest.mark.slow
def test_stopped_and_resumed_to_the_same_bits(trainee: Trainee, tmp_path: Path) -> None:
    whole = together(tmp_path / "two", trainee).run(**SPEC, batch_size=2)
    two = simulated(trainee, 2)
    stopped = stop_at(two, 5, **SPEC, batch_size=2)
    assert trainee.embedding().step == 15
    ended = two.wait(two.services.runs.resume(stopped.id))
    assert (ended.status, ended.error) == ("finished", "")
    assert torch.equal(saved(ended)["vectors"]["clip_l"], saved(whole)["vectors"]["clip_l"])
    assert ended.evaluations == whole.evaluations


@pytest.mark.parametrize(
    ("before", "after"), [(2, 1), pytest.param(1, 2, marks=pytest.mark.slow), pytest.param(2, 3, marks=pytest.mark.slow)]
)
def test_another_number_of_processes_is_another_run(trainee: Trainee, before: int, after: int) -> None:
    stopped = stop_at(simulated(trainee, before), 5, **SPEC, batch_size=2)
    other = simulated(trainee, after)
    failed = other.wait(other.services.runs.resume(stopped.id))
    assert failed.error == "The run cannot be resumed, because this has changed: the number of processes."


@pytest.mark.slow
def test_a_process_that_fails_ends_the_run_and_the_result_is_kept(trainee: Trainee, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Worker._compute

    def compute(self: Worker, step: Any) -> Any:
        if step.number == 4:
            raise TrainingFailed("A cosmic ray.", "Wear a hat.")
        return real(self, step)

    monkeypatch.setattr(Worker, "_compute", compute)
    two = simulated(trainee, 2)
    failed = two.run(**SPEC, batch_size=2)
    assert (failed.status, failed.step) == ("failed", 3)
    assert (failed.error, failed.hint) == ("Process 1 of 2 failed. A cosmic ray.", "Wear a hat.")
    assert trainee.embedding().step == 13
    monkeypatch.undo()
    assert two.wait(two.services.runs.resume(failed.id)).status == "finished"


@pytest.mark.slow
def test_memory_that_is_short_in_one_process(trainee: Trainee, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Worker._compute

    def compute(self: Worker, step: Any) -> Any:
        if not step.checkpointing:
            raise torch.cuda.OutOfMemoryError("full")
        return real(self, step)

    monkeypatch.setattr(Worker, "_compute", compute)
    two = simulated(trainee, 2)
    ended = two.run(**SPEC, batch_size=2)
    assert (ended.status, ended.error) == ("finished", "")
    assert any("gradient checkpointing" in note for note in ended.notes)
