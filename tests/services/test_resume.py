"""Going on with a run: to the same bits as one that was never interrupted, whatever ended it."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.checkpoints import pictures
from tests.training import NAME, Trainee, new_trainee, trainee
from train_embedding.embeddings.formats import read_embedding
from train_embedding.engine.snapshots import RESUME_FILE
from train_embedding.errors import Conflict, NotFound
from train_embedding.services import recorder
from train_embedding.services.run_state import RunState

__all__ = ["pictures", "trainee"]

SPEC: dict[str, Any] = {
    "steps": 12, "batch_size": 2, "save_every": 2, "preview_every": 5, "average": 0.5, "evaluate_every": 3, "cooldown": 4,
    "latent_sampling": "random", "timesteps": "shifted", "warmup": 2,
}  # fmt: skip


def bits(path: Path) -> bytes:
    return read_embedding(path).vectors["clip_l"].numpy().tobytes()


def result(made: Trainee, ended: RunState) -> tuple[bytes, bytes, tuple[tuple[int, float, float], ...], str]:
    """What must not depend on interruptions: the embedding, the last vectors of all, the evaluations and the losses."""
    saved = torch.load(ended.folder / RESUME_FILE, weights_only=True)["state"]
    losses = (ended.folder / "loss.csv").read_text()
    return bits(made.file), saved["vectors"]["clip_l"].numpy().tobytes(), ended.evaluations, losses


@pytest.fixture
def single_thread() -> Iterator[None]:
    """The same sums in the same order, also in a forked process."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def uninterrupted(tmp_path: Path, pictures: Path, single_thread: None, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(recorder, "REPORT_SECONDS", 0.0)
    other = new_trainee(tmp_path / "other", pictures)
    return result(other, other.run(**SPEC))


def stop_at(made: Trainee, step: int, spec: dict[str, Any]) -> RunState:
    def stop(progress: Any) -> None:
        if progress.step == step:
            made.services.runs.stop(made.services.runs.list()[0].id)

    made.host.on_report = stop
    ended = made.run(**spec)
    made.host.on_report = lambda _progress: None
    assert ended.status == "stopped"
    assert ended.step == step
    return ended


@pytest.mark.parametrize("step", [1, 2, 3, 5, 6, 9, 11])
def test_stopped_and_resumed(trainee: Trainee, uninterrupted: Any, step: int) -> None:
    stopped = stop_at(trainee, step, SPEC)
    ended = trainee.wait(trainee.services.runs.resume(stopped.id))
    assert (ended.status, ended.step, ended.error) == ("finished", 12, "")
    assert result(trainee, ended) == uninterrupted
    assert [path.name for path in ended.previews if path.stem != "0000005"] == ["0000000.png", "0000010.png"]


def test_stopped_twice_and_resumed_in_another_process(trainee: Trainee, uninterrupted: Any) -> None:
    stopped = stop_at(trainee, 4, SPEC)
    again = type(trainee)(trainee.host, type(trainee.services)(trainee.host), trainee.pictures)
    again.host.on_report = lambda progress: progress.step == 7 and again.services.runs.stop(stopped.id)
    assert again.wait(again.services.runs.resume(stopped.id)).step == 7
    again.host.on_report = lambda _progress: None
    ended = again.wait(again.services.runs.resume(stopped.id))
    assert result(again, ended) == uninterrupted


def test_what_failed_goes_on(trainee: Trainee, uninterrupted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real = torch.optim.AdamW.step
    calls: list[int] = []

    def step(self: torch.optim.AdamW, *arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 6:
            raise RuntimeError("a cosmic ray")
        return real(self, *arguments)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    failed = trainee.run(**SPEC)
    assert failed.status == "failed"
    assert "cosmic ray" in failed.error
    ended = trainee.wait(trainee.services.runs.resume(failed.id))
    assert (ended.status, ended.error, ended.hint) == ("finished", "", "")
    assert result(trainee, ended) == uninterrupted


def killed(work: Callable[[], object], seconds: float) -> bool:
    """Runs `work` in a process of its own that is killed after so many seconds; whether it was killed before its end."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException:  # noqa: BLE001
            os._exit(1)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status):
        assert os.WEXITSTATUS(status) == 0
        return False
    return True


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_killed_at_random_instants(trainee: Trainee, uninterrupted: Any) -> None:
    """Twenty kills over as many runs as it takes; now and then one falls into the saving, which is most of the time here."""
    rng = random.Random(1)
    began = time.monotonic()
    whole = trainee.run(**SPEC)
    assert result(trainee, whole) == uninterrupted
    duration = time.monotonic() - began
    kills, done = 0, {whole.id}
    while kills < 20:
        run_id = ""
        trainee.reset()
        for _ in range(60):

            def work(run_id: str = run_id) -> None:
                services = type(trainee.services)(trainee.host)
                state = services.runs.resume(run_id) if run_id else services.runs.start(trainee.spec(**SPEC))
                ended = services.runs.wait(state.id, 120)
                assert ended.status == "finished", ended

            ended_by_itself = not killed(work, rng.uniform(0.0, 1.0) * duration)
            check_files(trainee)
            states = [state for state in trainee.fresh_runs().list() if state.id not in done]
            run_id = states[0].id if states else ""
            if ended_by_itself:
                break
            kills += 1
            if states and states[0].status == "finished":
                break  # killed after the last word was written
        else:
            pytest.fail("the run never ended")
        (ended,) = states
        done.add(ended.id)
        assert ended.status == "finished"
        assert result(trainee, ended) == uninterrupted


def check_files(made: Trainee) -> None:
    """Whatever stands under a final name can be read."""
    for file in made.host.info().embeddings_folder.glob("*.pt"):
        read_embedding(file)
    for file in made.host.info().runs_folder.rglob("*.pt"):
        if file.name == RESUME_FILE:
            assert torch.load(file, weights_only=True)["version"] == 1
        elif not file.name.startswith("."):
            read_embedding(file)


def test_the_start_is_that_of_the_run(trainee: Trainee, uninterrupted: Any) -> None:
    """The stopped run has left its own vectors under the embedding's name."""
    before = bits(trainee.file)
    stopped = stop_at(trainee, 5, SPEC)
    assert bits(trainee.file) != before
    assert bits(stopped.folder / "start.pt") == before
    trainee.file.unlink()
    ended = trainee.wait(trainee.services.runs.resume(stopped.id))
    assert result(trainee, ended) == uninterrupted


def test_what_changed_is_named(trainee: Trainee) -> None:
    stopped = stop_at(trainee, 5, SPEC)
    picture = min(trainee.pictures.glob("*.png"))
    words = picture.with_suffix(".txt")
    old = words.read_text() if words.exists() else None
    words.write_text("something else")
    failed = trainee.wait(trainee.services.runs.resume(stopped.id))
    assert failed.status == "failed"
    assert failed.error == "The run cannot go on as it began: the pictures or their captions changed since."
    assert failed.step == 5
    words.unlink() if old is None else words.write_text(old)
    assert trainee.wait(trainee.services.runs.resume(stopped.id)).status == "finished"


@pytest.mark.parametrize("changes", [{"learning_rate": "0.1"}, {"steps": 40}, {"seed": 3, "batch_size": 1}])
def test_fields_that_the_vectors_depend_on_cannot_change(trainee: Trainee, changes: dict[str, Any]) -> None:
    stopped = stop_at(trainee, 5, SPEC)
    with pytest.raises(Conflict, match=", ".join(sorted(changes))):
        trainee.services.runs.resume(stopped.id, changes)
    assert trainee.services.runs.get(stopped.id) == stopped


def test_other_fields_can(trainee: Trainee, uninterrupted: Any) -> None:
    stopped = stop_at(trainee, 5, SPEC)
    ended = trainee.wait(trainee.services.runs.resume(stopped.id, {"preview_every": 3, "save_every": 0}))
    assert [path.name for path in ended.previews] == ["0000000.png", "0000006.png", "0000009.png", "0000012.png"]
    assert result(trainee, ended) == uninterrupted


def test_runs_that_cannot_go_on(trainee: Trainee) -> None:
    ended = trainee.run()
    with pytest.raises(Conflict, match="has finished"):
        trainee.services.runs.resume(ended.id)
    with pytest.raises(NotFound):
        trainee.services.runs.resume("nothing")


def test_a_damaged_resume_file_is_said(trainee: Trainee) -> None:
    stopped = stop_at(trainee, 5, SPEC)
    (stopped.folder / RESUME_FILE).write_bytes(b"nonsense")
    failed = trainee.wait(trainee.services.runs.resume(stopped.id))
    assert failed.status == "failed"
    assert failed.error.startswith('"resume.pt" cannot be read')
    assert (stopped.folder / RESUME_FILE).read_bytes() == b"nonsense"


def test_an_embedding_of_the_name_stays_what_it_is_until_the_end(trainee: Trainee) -> None:
    stopped = stop_at(trainee, 5, SPEC)
    assert stopped.embedding == NAME
    assert trainee.file.exists()
