"""One run: the files it writes, what it shows on the way, and what is left when something goes wrong."""

from __future__ import annotations

import csv
import errno
import json
import math
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from tests.checkpoints import pictures
from tests.training import NAME, Trainee, trainee
from train_embedding.embeddings import storage
from train_embedding.embeddings.formats import read_embedding
from train_embedding.engine.model.diffusion_model import DiffusionModel
from train_embedding.engine.runtime import bf16_copy, precision
from train_embedding.engine.training import evaluation, loop
from train_embedding.engine.training.early_stopping import Evaluation, Verdict
from train_embedding.engine.training.state import TrainState
from train_embedding.errors import HostFailed
from train_embedding.hosts.base import Progress
from train_embedding.messages import Message
from train_embedding.services.run_records import RunState, load_state
from train_embedding.services.training import recorder, trainer

__all__ = ["pictures", "trainee"]


def rows(state: RunState) -> list[dict[str, str]]:
    with (state.folder / "loss.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def names(paths: tuple[Path, ...]) -> list[str]:
    return [path.name for path in paths]


def test_what_a_run_writes(trainee: Trainee) -> None:
    before = trainee.embedding()
    ended = trainee.run(steps=7, save_every=3, preview_every=2)
    assert ended.status == "finished"
    after = trainee.embedding()
    assert not torch.equal(after.vectors["clip_l"], before.vectors["clip_l"])
    assert (after.name, after.step, after.count) == (NAME, 17, 2)
    assert (after.checkpoint_name, after.checkpoint_hash) == ("fake", "0123456789")
    assert names(ended.files) == ["sword.pt", "sword-3.pt", "sword-6.pt"]
    assert ended.files[0] == trainee.file
    assert {path.parent for path in ended.files[1:]} == {ended.folder / "snapshots"}
    assert [read_embedding(path).step for path in ended.files[1:]] == [13, 16]
    assert names(ended.previews) == ["0000000.png", "0000002.png", "0000004.png", "0000006.png"]
    for path in ended.previews:
        with Image.open(path) as picture:
            assert picture.size == (64, 64)
    assert [row["step"] for row in rows(ended)] == ["1", "2", "3", "4", "5", "6", "7"]
    assert sorted(path.name for path in ended.folder.iterdir()) == [
        "events.jsonl", "images.json", "loss.csv", "previews", "resume.safetensors", "snapshots", "start.pt", "state.json",
        "steps",
    ]  # fmt: skip
    assert load_state(ended.folder) == ended


def test_the_preview_of_the_saved_step_becomes_the_image_of_a_card_without_one(trainee: Trainee) -> None:
    ended = trainee.run(steps=4, preview_every=2)
    card = trainee.file.with_name(f"{NAME}.preview.png")
    assert card.read_bytes() == (ended.folder / "previews" / "0000004.png").read_bytes()
    assert trainee.services.library.get(NAME).preview == card
    card.write_bytes((ended.folder / "previews" / "0000000.png").read_bytes())
    chosen = card.read_bytes()
    trainee.run(steps=2, preview_every=2)
    assert card.read_bytes() == chosen


def test_a_card_without_an_image_is_no_failure(trainee: Trainee, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_file: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(trainer, "read_preview", refuse)
    ended = trainee.run(steps=2, preview_every=2)
    assert ended.status == "finished"
    assert 'The card has no image: "0000002.png" cannot be read: Permission denied.' in [str(note) for note in ended.notes]


def test_the_old_file_is_in_the_trash(trainee: Trainee) -> None:
    before = trainee.file.read_bytes()
    trainee.run()
    (kept,) = trainee.services.library.trash_folder.glob("*/*")
    assert kept.read_bytes() == before


def test_figures(trainee: Trainee) -> None:
    ended = trainee.run(steps=25, learning_rate="0.01:20, 0.001")
    losses = [float(row["loss"]) for row in rows(ended)]
    assert [float(row["learning_rate"]) for row in rows(ended)] == [0.01] * 20 + [0.001] * 5
    assert ended.loss == pytest.approx(sum(losses[-20:]) / 20)
    assert [step for step, _ in ended.losses] == list(range(1, 26))
    assert [loss for _, loss in ended.losses] == pytest.approx(losses)
    assert (ended.rate, ended.eta_seconds) == (0.001, 0.0)
    assert ended.seconds > 0


def test_the_host_is_told(trainee: Trainee) -> None:
    seen: list[RunState | None] = []
    trainee.host.on_report = lambda _progress: seen.append(trainee.services.runs.current())
    trainee.run(steps=3)
    assert trainee.host.jobs == ["Training sword"]
    assert not trainee.host.busy
    assert [(report.step, report.steps) for report in trainee.host.reports] == [(1, 3), (2, 3), (3, 3)]
    assert all(
        report.text.startswith("sword: loss 0.") or report.text.startswith("sword: loss 1.") for report in trainee.host.reports
    )
    assert [(state.status, state.step) for state in seen if state] == [("running", 1), ("running", 2), ("running", 3)]
    assert all(state and state.eta_seconds is not None and state.loss for state in seen)
    assert trainee.host.reloads == 1
    assert NAME in trainee.host.loaded_embeddings().names


def test_reports_come_by_the_clock(trainee: Trainee, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading a loss waits for the device, so not every step is read."""
    monkeypatch.setattr(recorder, "REPORT_SECONDS", 1e9)
    ended = trainee.run(steps=6)
    assert [report.step for report in trainee.host.reports] == [1, 6]
    assert len(rows(ended)) == len(ended.losses) == 6


def test_previews_show_the_vectors_of_their_step(trainee: Trainee) -> None:
    before = trainee.embedding()
    ended = trainee.run(
        steps=4,
        save_every=2,
        preview_every=2,
        preview_prompt="a [name] in [name]",
        preview_negative_prompt="no [name]",
        preview_seed=9,
        preview_steps=5,
        preview_guidance=3.5,
        width=32,
        height=48,
    )
    requests = trainee.host.requests
    vectors = [request.embeddings[0].vectors["clip_l"] for request in requests]
    expected = [before, *(read_embedding(path) for path in ended.files[1:])]
    assert len(requests) == len(expected) == 3
    assert all(torch.equal(shown, one.vectors["clip_l"]) for shown, one in zip(vectors, expected, strict=True))
    request = requests[-1]
    assert (request.prompt, request.negative_prompt) == ("a sword in sword", "no sword")
    assert (request.seed, request.steps, request.guidance, request.width, request.height) == (9, 5, 3.5, 32, 48)
    assert [embedding.name for embedding in request.embeddings] == [NAME]


def test_no_previews_and_no_snapshots(trainee: Trainee) -> None:
    ended = trainee.run()
    assert trainee.host.requests == []
    assert (ended.previews, names(ended.files)) == ((), ["sword.pt"])


def test_training_goes_on_from_where_it_was(trainee: Trainee) -> None:
    trainee.run(steps=3)
    between = trainee.embedding()
    trainee.run(steps=2, preview_every=2)
    assert trainee.embedding().step == 15
    assert torch.equal(trainee.host.requests[0].embeddings[0].vectors["clip_l"], between.vectors["clip_l"])


def test_twice_the_same(trainee: Trainee) -> None:
    start = trainee.file.read_bytes()
    trainee.run(preview_every=1)
    one = trainee.embedding().vectors["clip_l"]
    trainee.file.write_bytes(start)
    trainee.host.reload_embeddings()
    trainee.run(save_every=1)
    assert torch.equal(trainee.embedding().vectors["clip_l"], one)


def test_a_schedule_that_ends_earlier(trainee: Trainee) -> None:
    ended = trainee.run(steps=100, learning_rate="0.01:3")
    assert (ended.status, ended.step, ended.steps) == ("finished", 3, 3)
    assert ended.notes == ("The run ends at step 3, where the learning rate schedule ends.",)


def test_skipped_pictures_are_noted(trainee: Trainee) -> None:
    (trainee.pictures / "bad.png").write_text("x")
    ended = trainee.run()
    assert ended.status == "finished"
    assert ended.notes == ('"bad.png" was skipped: It is not an image.',)


@pytest.mark.parametrize("where", ["start", "host"])
def test_inference_mode_around_it(trainee: Trainee, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some hosts call every entry point under it."""
    if where == "start":
        with torch.inference_mode():
            started = trainee.start()
    else:
        real = trainee.host.exclusive

        @contextmanager
        def exclusive(job: str) -> Any:
            with torch.inference_mode(), real(job):
                yield

        monkeypatch.setattr(trainee.host, "exclusive", exclusive)
        started = trainee.start()
    assert trainee.wait(started).status == "finished"


def kept(trainee: Trainee, state: RunState, step: int) -> None:
    """The run failed, and the embedding holds the vectors of that step of the run."""
    assert state.status == "failed"
    assert load_state(state.folder).status in ("failed", "interrupted")
    embedding = trainee.embedding()
    assert embedding.step == 10 + step
    assert torch.isfinite(embedding.vectors["clip_l"]).all()
    assert not trainee.host.busy
    trainee.host.on_report = lambda _progress: None


def at_step(
    monkeypatch: pytest.MonkeyPatch, number: int, change: Callable[[torch.Tensor, dict[str, torch.Tensor]], torch.Tensor]
) -> None:
    """From that step on, the loss is what `change` makes of it."""
    real = loop.batch_loss
    calls: list[int] = []

    def batch_loss(model: Any, vectors: dict[str, torch.Tensor], *rest: Any) -> torch.Tensor:
        calls.append(1)
        loss = real(model, vectors, *rest)
        return change(loss, vectors) if len(calls) >= number else loss

    monkeypatch.setattr(loop, "batch_loss", batch_loss)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number(trainee: Trainee, monkeypatch: pytest.MonkeyPatch, value: float) -> None:
    at_step(monkeypatch, 3, lambda loss, _vectors: loss * value)
    ended = trainee.run(steps=9, save_every=1)
    kept(trainee, ended, 2)
    assert ended.error == "The loss became NaN or infinite at step 3."
    assert "lower learning rate" in ended.hint
    assert ended.step == 2
    assert names(ended.files) == ["sword.pt", "sword-1.pt", "sword-2.pt"]
    assert [row["loss"] for row in rows(ended)][2] == str(value)
    assert "NaN" not in (ended.folder / "state.json").read_text().replace("NaN or infinite", "")


def test_a_gradient_that_is_no_number(trainee: Trainee, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss of that step is fine, the vectors after it are not."""

    def change(loss: torch.Tensor, vectors: dict[str, torch.Tensor]) -> torch.Tensor:
        return loss + (vectors["clip_l"] * 0).sqrt().sum()

    at_step(monkeypatch, 2, change)
    ended = trainee.run(save_every=1)
    kept(trainee, ended, 1)
    assert ended.error == "The loss became NaN or infinite at step 2."


def test_nan_between_reports(trainee: Trainee, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "REPORT_SECONDS", 1e9)
    at_step(monkeypatch, 4, lambda loss, _vectors: loss * float("nan"))
    ended = trainee.run(steps=9)
    kept(trainee, ended, 1)  # the first step is always read
    assert ended.error == "The loss became NaN or infinite at step 4."
    assert len(rows(ended)) == 9


def test_nan_at_once(trainee: Trainee, monkeypatch: pytest.MonkeyPatch) -> None:
    before = trainee.file.read_bytes()
    at_step(monkeypatch, 1, lambda loss, _vectors: loss * float("nan"))
    ended = trainee.run()
    kept(trainee, ended, 0)
    assert trainee.file.read_bytes() == before
    assert ended.files == ()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_step_that_overflows_in_fp16_is_skipped(trainee: Trainee, monkeypatch: pytest.MonkeyPatch, value: float) -> None:
    monkeypatch.setattr(precision, "uses_fp16_gradients", lambda _model: True)
    calls: list[int] = []

    def change(loss: torch.Tensor, _vectors: dict[str, torch.Tensor]) -> torch.Tensor:
        calls.append(1)
        return loss * value if len(calls) == 2 else loss

    at_step(monkeypatch, 1, change)
    before = trainee.embedding()
    ended = trainee.run(steps=5, eval_every=1)
    assert (ended.status, ended.step) == ("finished", 5)
    assert [row["step"] for row in rows(ended)] == ["1", "3", "4", "5"]
    after = trainee.embedding()
    assert torch.isfinite(after.vectors["clip_l"]).all()
    assert not torch.equal(after.vectors["clip_l"], before.vectors["clip_l"])


def test_a_run_in_which_every_step_overflows_fails(trainee: Trainee, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "uses_fp16_gradients", lambda _model: True)
    before = trainee.file.read_bytes()
    at_step(monkeypatch, 1, lambda loss, _vectors: loss * float("inf"))
    ended = trainee.run(steps=40, save_every=1, preview_every=5)
    assert (ended.status, ended.error) == ("failed", "The loss became NaN or infinite at step 20.")
    assert "--no-half" in ended.hint
    assert trainee.file.read_bytes() == before


@pytest.fixture
def overflowing(trainee: Trainee, monkeypatch: pytest.MonkeyPatch) -> Iterator[DiffusionModel]:
    """A model that a run can also compute under autocast to bf16, and whose losses overflow unless it does."""
    model, real = trainee.host.the_model, loop.denoising_losses
    assert model is not None

    def losses(*values: Any) -> torch.Tensor:
        found = real(*values)
        return found if precision.compute_dtype(model) == torch.bfloat16 else found * math.inf

    monkeypatch.setattr(precision, "uses_fp16_gradients", lambda _model: True)
    monkeypatch.setattr(precision, "_choices", lambda _model: [None, torch.bfloat16])
    monkeypatch.setattr(loop, "denoising_losses", losses)
    monkeypatch.setattr(evaluation, "denoising_losses", losses)
    yield model
    model.autocast_dtypes.clear()


@pytest.mark.usefixtures("overflowing")
def test_a_run_whose_steps_overflow_continues_in_bf16(trainee: Trainee) -> None:
    ended = trainee.run(steps=12, save_every=1)
    assert (ended.status, ended.step) == ("finished", 12)
    assert [row["step"] for row in rows(ended)] == ["9", "10", "11", "12"]
    assert ended.notes == ("Numbers became too large for fp32 at step 9. The run continues in bf16, which is slower.",)
    after = trainee.embedding()
    trainee.reset()
    trainee.host.on_report = lambda progress: (
        progress.step == 10 and trainee.services.runs.stop(trainee.services.runs.list()[0].id)
    )
    stopped = trainee.run(steps=12, save_every=1)
    assert (stopped.status, stopped.step) == ("stopped", 10)
    resumed = trainee.wait(trainee.services.runs.resume(stopped.id))
    assert (resumed.status, resumed.notes) == ("finished", ())  # in bf16 from its first step
    assert torch.equal(trainee.embedding().vectors["clip_l"], after.vectors["clip_l"])


@pytest.mark.usefixtures("overflowing")
def test_a_run_whose_evaluation_overflows_continues_in_bf16(trainee: Trainee) -> None:
    ended = trainee.run(steps=4, eval_every=2, candidates="star")
    assert ended.status == "finished"
    assert [step for step, *_ in ended.evaluations] == [0, 2, 4]
    assert [row["step"] for row in rows(ended)] == ["1", "2", "3", "4"]
    assert [note for note in ended.notes if "bf16" in note] == [
        "Numbers became too large for fp32 at step 1. The run continues in bf16, which is slower."
    ]


def test_out_of_memory(trainee: Trainee, monkeypatch: pytest.MonkeyPatch) -> None:
    def raising(_loss: torch.Tensor, _vectors: object) -> torch.Tensor:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")

    at_step(monkeypatch, 3, raising)
    ended = trainee.run()
    kept(trainee, ended, 2)
    assert ended.error == "There is not enough memory for a training step."
    assert ended.hint == "Use a smaller batch size or smaller images."


def test_an_error_that_nobody_thought_of(trainee: Trainee, monkeypatch: pytest.MonkeyPatch) -> None:
    def raising(_loss: torch.Tensor, _vectors: object) -> torch.Tensor:
        raise ZeroDivisionError("division by zero")

    at_step(monkeypatch, 3, raising)
    ended = trainee.run()
    kept(trainee, ended, 2)
    assert ended.error == "Training failed with an unexpected error: ZeroDivisionError: division by zero"


def full_disk(monkeypatch: pytest.MonkeyPatch, trainee: Trainee, is_full_for: Callable[[Path], bool], step: int = 2) -> None:
    """From that step on, files that `is_full_for` picks out cannot be written."""
    real = storage._write_flushed

    def write(path: Path, data: bytes) -> None:
        reached = trainee.host.reports and trainee.host.reports[-1].step >= step
        if reached and is_full_for(path):
            path.write_bytes(data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path, data)

    monkeypatch.setattr(storage, "_write_flushed", write)


def no_leftovers(trainee: Trainee) -> bool:
    folders = (trainee.file.parent, trainee.host.info().runs_folder)
    return not [path for folder in folders for path in folder.rglob("*.tmp")]


def test_no_room_for_a_snapshot(trainee: Trainee, monkeypatch: pytest.MonkeyPatch) -> None:
    full_disk(monkeypatch, trainee, lambda path: path.parent.name == "snapshots")
    ended = trainee.run(save_every=1)
    kept(trainee, ended, 2)
    assert ended.error == '"sword-2.pt" could not be written: the disk is full.'
    assert ended.hint == "Free some space and try again. An interrupted run can be resumed."
    assert names(ended.files) == ["sword.pt", "sword-1.pt"]
    assert no_leftovers(trainee)


def test_no_room_for_a_preview(trainee: Trainee, monkeypatch: pytest.MonkeyPatch) -> None:
    full_disk(monkeypatch, trainee, lambda path: path.parent.name == "previews")
    ended = trainee.run(preview_every=2)
    kept(trainee, ended, 2)
    assert ended.error == '"0000002.png" could not be written: the disk is full.'
    assert names(ended.previews) == ["0000000.png"]


def test_no_room_for_the_state(trainee: Trainee, monkeypatch: pytest.MonkeyPatch) -> None:
    full_disk(monkeypatch, trainee, lambda path: path.name.startswith(".state."))
    ended = trainee.run()
    kept(trainee, ended, 3)
    assert ended.error == '"state.json" could not be written: the disk is full.'
    assert ended.files == (trainee.file,)
    assert trainee.services.runs.list() == [ended]
    assert json.loads((ended.folder / "state.json").read_text())["step"] == 2  # the last that was written
    assert no_leftovers(trainee)


def test_no_room_for_the_losses(trainee: Trainee, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.open

    def open_(path: Path, *arguments: Any, **options: Any) -> Any:
        if path.name == "loss.csv" and len(trainee.host.reports) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", open_)
    ended = trainee.run()
    kept(trainee, ended, 3)  # whose losses could not be written, but its vectors
    assert ended.error == '"loss.csv" could not be written: the disk is full.'


def in_use(monkeypatch: pytest.MonkeyPatch, is_open: Callable[[str], bool], times: int = 10**6) -> list[str]:
    """Windows refuses to replace a file while another program has it open."""
    real, refused = os.replace, list[str]()

    def replace_(source: Any, target: Any) -> None:
        if is_open(Path(target).name) and len(refused) < times:
            refused.append(str(target))
            raise PermissionError(errno.EACCES, "Access is denied", str(source), None, str(target))
        real(source, target)

    monkeypatch.setattr(os, "replace", replace_)
    return refused


def test_a_state_that_is_in_use_for_a_moment_costs_nothing(trainee: Trainee, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = in_use(monkeypatch, lambda name: name == "state.json", times=1)
    ended = trainee.run()
    assert refused
    assert (ended.status, ended.notes) == ("finished", ())
    assert load_state(ended.folder) == ended


def test_a_state_that_stays_in_use_does_not_end_the_run(trainee: Trainee, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "PAUSES", (0.0,))
    in_use(monkeypatch, lambda name: name == "state.json" and len(trainee.host.reports) >= 2)
    ended = trainee.run()
    assert (ended.status, ended.result) == ("finished", trainee.file)
    (note,) = (note for note in ended.notes if "progress was not saved" in note)
    assert '"state.json" could not be written: another program has it open' in note


def test_losses_that_a_spreadsheet_has_open_are_written_later(trainee: Trainee, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.open

    def open_(path: Path, *arguments: Any, **options: Any) -> Any:
        if path.name == "loss.csv" and "a" in arguments and len(trainee.host.reports) == 2:
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", open_)
    ended = trainee.run()
    assert ended.status == "finished"
    assert '"loss.csv" is open in another program, so its newest lines are missing.' in ended.notes
    rows = (ended.folder / "loss.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["step", *map(str, range(1, ended.steps + 1))]


def test_no_room_for_anything(trainee: Trainee, monkeypatch: pytest.MonkeyPatch) -> None:
    before = trainee.file.read_bytes()
    full_disk(monkeypatch, trainee, lambda _path: True)
    ended = trainee.run()
    assert (ended.status, ended.result) == ("failed", None)
    assert ended.error == '"sword.pt" could not be written: the disk is full.'
    assert trainee.file.read_bytes() == before
    assert not trainee.services.library.trashed()
    assert no_leftovers(trainee)
    monkeypatch.undo()
    assert load_state(ended.folder).status == "interrupted"
    assert trainee.run().status == "finished"


def test_a_preview_that_fails_costs_no_more_than_itself(trainee: Trainee) -> None:
    def failing(_request: object) -> None:
        if len(trainee.host.requests) == 2:
            raise ValueError("no such sampler")

    trainee.host.on_txt2img = failing
    ended = trainee.run(preview_every=1)
    assert (ended.status, ended.step, ended.error) == ("finished", 4, "")
    assert ended.notes == ("The preview at step 1 failed, so no more are generated: no such sampler",)
    assert names(ended.previews) == ["0000000.png"]
    assert len(trainee.host.requests) == 2
    assert trainee.embedding().step == 14


def test_an_interrupted_preview_is_thrown_away(trainee: Trainee) -> None:
    trainee.host.on_txt2img = lambda _request: trainee.host.press_interrupt() if len(trainee.host.requests) == 2 else None
    ended = trainee.run(preview_every=2)
    assert (ended.status, ended.step, names(ended.previews)) == ("stopped", 2, ["0000000.png"])
    assert trainee.embedding().step == 12


def test_a_progress_bar_that_fails(trainee: Trainee) -> None:
    def failing(progress: Progress) -> None:
        if progress.step == 2:
            raise RuntimeError("the host is gone")

    trainee.host.on_report = failing
    ended = trainee.run()
    kept(trainee, ended, 2)
    assert "RuntimeError: the host is gone" in ended.error


def test_no_checkpoint_when_its_turn_comes(trainee: Trainee) -> None:
    before = trainee.file.read_bytes()
    with trainee.host.exclusive("something else"):
        started = trainee.start()
        trainee.host.the_model = None
    ended = trainee.wait(started)
    assert (ended.status, ended.error, ended.hint) == ("failed", "No checkpoint is loaded.", "Load a checkpoint first.")
    assert trainee.file.read_bytes() == before


def test_pictures_that_are_gone_when_its_turn_comes(trainee: Trainee) -> None:
    with trainee.host.exclusive("something else"):
        started = trainee.start()
        shutil.rmtree(trainee.pictures)
    ended = trainee.wait(started)
    assert ended.status == "failed"
    assert ended.error == f'The folder "{trainee.pictures}" does not exist.'
    assert trainee.embedding().step == 10


def test_pictures_that_go_during_the_run(trainee: Trainee) -> None:
    trainee.host.on_report = lambda _progress: shutil.rmtree(trainee.pictures, ignore_errors=True)
    assert trainee.run().status == "finished"


def test_an_embedding_that_is_deleted_during_the_run(trainee: Trainee) -> None:
    trainee.host.on_report = lambda _progress: trainee.file.unlink(missing_ok=True)
    assert trainee.run().status == "finished"
    assert trainee.embedding().step == 14


def test_evaluations_are_shown_and_the_best_is_kept(trainee: Trainee, monkeypatch: pytest.MonkeyPatch) -> None:
    """The third of six evaluations is made the best; its vectors are what is left in the end."""
    kept: dict[int, torch.Tensor] = {}
    real = TrainState.record

    def record(self: TrainState, losses: torch.Tensor) -> Evaluation:
        kept[self.step] = self.ema["clip_l"].clone()
        level = {0: 1.0, 2: 0.8, 4: 0.5}.get(self.step, 0.7)
        return real(self, torch.linspace(1, 2, 16) * level)

    monkeypatch.setattr(TrainState, "record", record)
    ended = trainee.run(steps=10, eval_every=2, ema_decay=0.5)
    assert ended.status == "finished"
    assert [(step, round(score, 6)) for step, score, _ in ended.evaluations] == [
        (0, 1.0), (2, 0.8), (4, 0.5), (6, 0.7), (8, 0.7), (10, 0.7),
    ]  # fmt: skip
    assert ended.evaluations[0][2] == pytest.approx(1.5)
    assert ended.best_step == 4
    assert torch.equal(trainee.embedding().vectors["clip_l"], kept[4])
    assert trainee.embedding().step == 14
    lines = [json.loads(line) for line in (ended.folder / "events.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["event"] == "evaluated"] == [0, 2, 4, 6, 8, 10]


@pytest.mark.parametrize(("keep", "saved"), [("best", 4), ("last", 8)])
def test_a_run_that_was_stopped_early_says_why_and_which_step_was_saved(
    trainee: Trainee, monkeypatch: pytest.MonkeyPatch, keep: str, saved: int
) -> None:
    real = TrainState.record
    levels = {0: 1.0, 2: 0.8, 4: 0.5}
    monkeypatch.setattr(
        TrainState, "record", lambda self, _losses: real(self, torch.linspace(1, 2, 16) * levels.get(self.step, 0.7))
    )
    monkeypatch.setattr(
        loop, "judge", lambda evaluations, _floor: Verdict.CONVERGED if len(evaluations) == 5 else Verdict.UNDECIDED
    )
    ended = trainee.run(steps=20, eval_every=2, keep=keep, lr_cooldown_steps=0)
    assert (ended.status, ended.step) == ("finished", 8)
    assert ended.notes == (f"Stopped early: the evaluation loss has plateaued. Saved step {saved} of 8.",)
    assert trainee.embedding().step == 10 + saved
    said = load_state(ended.folder).notes[0].parts[1]
    assert isinstance(said, Message)
    assert (said.key, said.values) == ("Saved step {step} of {steps}.", {"step": saved, "steps": 8})


def test_the_last_is_kept_where_that_is_asked_for(trainee: Trainee) -> None:
    ended = trainee.run(steps=4, eval_every=1, keep="last", early_stopping=False)
    assert trainee.embedding().step == 14
    assert [step for step, _, _ in ended.evaluations] == [0, 1, 2, 3, 4]


def test_a_run_that_does_not_learn_says_so_and_leaves_the_embedding(trainee: Trainee) -> None:
    before = trainee.file.read_bytes()
    ended = trainee.run(steps=100, eval_every=1, learning_rate="1e-9", save_every=4)
    assert (ended.status, ended.step, ended.steps) == ("finished", 8, 8)
    assert ended.notes == (
        "Stopped early: the evaluation loss is not falling. No step was better than the start, so the embedding is unchanged. "
        "The vectors hardly changed: try a higher learning rate or more steps.",
    )
    assert trainee.file.read_bytes() == before
    assert names(ended.files) == ["sword-4.pt", "sword-8.pt"]


def test_a_run_that_was_stopped_by_hand_keeps_what_it_did(trainee: Trainee) -> None:
    """Its last step is evaluated too, though no evaluation was due."""
    runs = trainee.services.runs
    trainee.host.on_report = lambda progress: progress.step == 3 and runs.stop(runs.list()[0].id)
    ended = trainee.run(steps=50, eval_every=20, learning_rate="1e-9")
    assert (ended.status, ended.step) == ("stopped", 3)
    assert trainee.embedding().step == 13


def test_an_evaluation_that_is_no_number(trainee: Trainee, monkeypatch: pytest.MonkeyPatch) -> None:
    real = evaluation.evaluation_losses
    calls: list[int] = []

    def losses(*arguments: Any) -> torch.Tensor:
        calls.append(1)
        return real(*arguments) * (math.nan if len(calls) == 3 else 1.0)

    monkeypatch.setattr(evaluation, "evaluation_losses", losses)
    before = trainee.embedding().vectors["clip_l"]
    ended = trainee.run(steps=9, eval_every=2, keep="last", batch_size=32)
    assert ended.status == "failed"
    assert ended.error == "The loss became NaN or infinite at step 4."
    after = trainee.embedding().vectors["clip_l"]
    assert torch.isfinite(after).all()
    assert not torch.equal(after, before)


def test_out_of_memory_once_goes_on_with_checkpointing(trainee: Trainee, monkeypatch: pytest.MonkeyPatch) -> None:
    real = loop.batch_loss
    modes: list[bool] = []

    def batch_loss(model: DiffusionModel, *arguments: Any) -> torch.Tensor:
        modes.append(model.unet.is_gradient_checkpointing)
        if len(modes) == 3:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return real(model, *arguments)

    monkeypatch.setattr(loop, "batch_loss", batch_loss)
    ended = trainee.run(steps=4)
    assert (ended.status, ended.step) == ("finished", 4)
    assert modes == [False, False, False, True, True]
    assert ended.notes == (
        "Memory ran out at step 3. The run continues with gradient checkpointing, which needs less memory and is slower.",
    )
    model = trainee.host.the_model
    assert model is not None
    assert not model.unet.is_gradient_checkpointing
    assert not model.unet.training
    assert [row["step"] for row in rows(ended)] == ["1", "2", "3", "4"]


def test_others_work_between_two_steps(trainee: Trainee) -> None:
    """A picture that is asked for at step 2 is made before the run ends."""
    made: list[int] = []
    threads: list[threading.Thread] = []

    def generate() -> None:
        with trainee.host.exclusive("txt2img"):
            made.append(trainee.services.runs.list()[0].step)

    def ask(progress: Progress) -> None:
        if progress.step == 2:
            threads.append(threading.Thread(target=generate))
            threads[0].start()
            while not trainee.host.has_waiters():
                time.sleep(0.001)

    trainee.host.on_report = ask
    ended = trainee.run(steps=6)
    threads[0].join(20)
    assert (ended.status, made) == ("finished", [2])


def test_a_checkpoint_that_changed_meanwhile_ends_the_run(trainee: Trainee, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def yield_queue(_release: object) -> None:
        calls.append(1)
        if len(calls) == 4:
            raise HostFailed("Another checkpoint was loaded meanwhile.", "Load the first one.")

    monkeypatch.setattr(trainee.host, "yield_queue", yield_queue)
    ended = trainee.run(steps=9, save_every=0)
    assert (ended.status, ended.step, ended.error) == ("stopped", 3, "")
    assert ended.notes == ("The run ended early: Another checkpoint was loaded meanwhile. Load the first one.",)
    assert trainee.embedding().step == 13
    monkeypatch.undo()
    assert trainee.wait(trainee.services.runs.resume(ended.id)).status == "finished"


def test_a_prompt_is_distilled_without_pictures(trainee: Trainee) -> None:
    before = trainee.embedding()
    ended = trainee.run(
        dataset="",
        teacher_prompt="a big red star on a white background",
        steps=30,
        eval_every=10,
        learning_rate="0.02",
        width=16,
        height=16,
    )
    assert (ended.status, ended.error) == ("finished", "")
    assert ended.evaluations[-1][1] < 0.9
    assert not torch.equal(trainee.embedding().vectors["clip_l"], before.vectors["clip_l"])
    assert not (ended.folder / "images.json").exists()


def test_several_preview_prompts(trainee: Trainee) -> None:
    ended = trainee.run(steps=4, preview_every=4, preview_prompt="a [name]\n\nb [name]")
    assert names(ended.previews) == ["0000000.png", "0000000-2.png", "0000004.png", "0000004-2.png"]
    assert [request.prompt for request in trainee.host.requests] == ["a sword", "b sword"] * 2


@pytest.mark.parametrize(
    "values", [{}, {"dataset": "", "teacher_prompt": "a big red star", "width": 16, "height": 16}], ids=["images", "a prompt"]
)
def test_a_run_with_a_bf16_copy_of_the_unet(values: dict[str, Any], trainee: Trainee, monkeypatch: pytest.MonkeyPatch) -> None:
    """A prompt's losses are so small that the direction of its vectors depends on the CPU: only those of images are compared."""
    exact = trainee.run(steps=4, **values)
    vectors = trainee.embedding().vectors["clip_l"]
    trainee.reset()
    monkeypatch.setattr(bf16_copy, "cpu_has_amx", lambda: True)
    monkeypatch.setattr(bf16_copy, "FEWEST_WEIGHTS", 0)
    rounded = trainee.run(steps=4, **values)
    assert (rounded.status, rounded.error) == ("finished", "")
    assert rounded.losses != exact.losses
    for (step, loss), (exact_step, exact_loss) in zip(rounded.losses, exact.losses, strict=True):
        assert (step, loss) == (exact_step, pytest.approx(exact_loss, abs=2e-3))
    similarity = torch.cosine_similarity(trainee.embedding().vectors["clip_l"].flatten(), vectors.flatten(), 0)
    assert (-1 if values else 0.9) < float(similarity) < 1


def test_a_run_is_not_resumed_in_another_dtype(trainee: Trainee, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = trainee.start(steps=400, save_every=1)
    while trainee.services.runs.get(stopped.id).step < 2:
        time.sleep(0.01)
    trainee.services.runs.stop(stopped.id)
    trainee.wait(stopped)
    monkeypatch.setattr(bf16_copy, "cpu_has_amx", lambda: True)
    monkeypatch.setattr(bf16_copy, "FEWEST_WEIGHTS", 0)
    resumed = trainee.wait(trainee.services.runs.resume(stopped.id))
    assert resumed.status == "failed"
    assert "device" in str(resumed.error)
