"""A run of this process: what it publishes, saves and ends with."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch

from train_embedding.embeddings.embedding import Embedding
from train_embedding.engine.config.spec import TrainingSpec
from train_embedding.errors import StorageFailed, TrainingFailed
from train_embedding.services.run_records import RunState, load_start, load_state
from train_embedding.services.training.run import Run
from train_embedding.testing import FakeHost


@pytest.fixture
def run(tmp_path: Path) -> Run:
    folder = tmp_path / "1"
    folder.mkdir()
    state = RunState("1", "sword", folder, TrainingSpec("sword", "/pictures"), steps=4)
    start = Embedding("sword", {"clip_l": torch.zeros(1, 4)}, step=10, metadata={"by": "me"})
    return Run(FakeHost(tmp_path / "host"), state, start)


def test_what_is_published_is_saved(run: Run) -> None:
    run.publish(status="running", step=3, loss=0.5)
    assert (run.state.status, run.state.step, run.state.loss) == ("running", 3, 0.5)
    run.end(None)  # a run that works is read as interrupted
    assert load_state(run.state.folder) == run.state


def test_a_step_that_is_used_while_the_end_is_saved_stays_recorded(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    using = threading.Thread(target=lambda: run.publish(saved_step=2))
    real = RunState.save

    def save(state: RunState, **options: bool) -> None:
        if using.ident is None:
            using.start()
            using.join(0.3)
        real(state, **options)

    monkeypatch.setattr(RunState, "save", save)
    run.end(None)
    using.join()
    assert load_state(run.state.folder).saved_step == 2


def test_a_field_that_a_state_does_not_have_is_refused(run: Run) -> None:
    with pytest.raises(TypeError, match="colour"):
        run.publish(colour="red")


@pytest.mark.parametrize("status", ["preparing", "running"])
def test_a_stopped_run_does_not_look_as_if_it_went_on(run: Run, status: str) -> None:
    assert run.stop().status == "stopping"
    assert run.stopping
    run.publish(status=status, step=1)
    assert (run.state.status, run.state.step) == ("stopping", 1)


def test_a_run_that_has_ended_cannot_be_stopped(run: Run) -> None:
    run.publish(step=4)
    run.end(None)
    assert run.stop().status == "finished"
    assert not run.stopping


def test_notes_are_added_once(run: Run) -> None:
    run.note("One.", "Two.", "One.")
    run.note("Two.", "Three.", lasting=True)
    assert run.state.notes == ("One.", "Two.", "Three.")
    assert run.state.lasting == ("Three.",)


def test_every_end_has_its_status(run: Run) -> None:
    run.end(TrainingFailed("Broken.", "Fix it."))
    assert (run.state.status, run.state.error, run.state.hint) == ("failed", "Broken.", "Fix it.")
    run.end(None)
    assert (run.state.status, run.state.notes) == ("stopped", ("Stopped before the first step; the embedding is unchanged.",))
    run.publish(step=4)
    run.end(None)
    assert run.state.status == "finished"


def test_a_state_that_cannot_be_saved_ends_the_run(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_self: RunState, *, patient: bool = True) -> None:
        raise StorageFailed("The disk is full.")

    monkeypatch.setattr(RunState, "save", full)
    with pytest.raises(StorageFailed, match="full"):
        run.publish(step=1)


def test_vectors_become_an_embedding_with_all_steps(run: Run) -> None:
    made = run.embedding({"clip_l": torch.ones(1, 4)}, 3)
    assert (made.name, made.step, made.metadata) == ("sword", 13, {"by": "me"})


def test_the_start_is_saved_once(run: Run) -> None:
    run.save_start()
    run.start = Embedding("sword", {"clip_l": torch.ones(1, 4)})
    run.save_start()
    kept = load_start(run.state)
    assert kept is not None
    assert torch.equal(kept.vectors["clip_l"], torch.zeros(1, 4))
