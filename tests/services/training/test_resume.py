"""Going on with a run: to the same bits as one that was never interrupted, whatever ended it."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.checkpoints import pictures, save_pictures
from tests.training import EVALUATION_ITEMS, NAME, Trainee, new_trainee, trainee
from train_embedding.embeddings.formats import read_embedding
from train_embedding.engine.loading.checkpoint import load_checkpoint
from train_embedding.engine.training.resume import OLDER_FILE, RESUME_FILE, read_resume
from train_embedding.errors import Conflict, HostFailed, NotFound
from train_embedding.hosts.base import HostInfo
from train_embedding.hosts.standalone import DEMO_CHECKPOINT
from train_embedding.services.run_records import RunState
from train_embedding.services.training import recorder, trainer

__all__ = ["pictures", "trainee"]

SPEC: dict[str, Any] = {
    "steps": 12, "batch_size": 2, "save_every": 2, "preview_every": 5, "ema_decay": 0.5, "eval_every": 3, "lr_cooldown_steps": 4,
    "latent_sampling": "random", "timesteps": "shifted", "lr_warmup_steps": 2,
}  # fmt: skip


def bits(path: Path) -> bytes:
    return read_embedding(path).vectors["clip_l"].numpy().tobytes()


def result(made: Trainee, ended: RunState) -> tuple[bytes, bytes, tuple[tuple[int, float, float], ...], str]:
    """What must not depend on interruptions: the embedding, the last vectors of all, the evaluations and the losses."""
    saved = read_resume(ended.folder / RESUME_FILE)["state"]
    losses = (ended.folder / "loss.csv").read_text()
    return bits(made.file), saved["vectors"]["clip_l"].numpy().tobytes(), ended.evaluations, losses


@pytest.fixture
def single_thread() -> Iterator[None]:
    """The same sums in the same order, also in a forked process."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("whole")
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recorder, "REPORT_SECONDS", 0.0)
        patch.setattr(trainer, "EVALUATION_ITEMS", EVALUATION_ITEMS)
        torch.set_num_threads(1)
        made = new_trainee(folder / "host", save_pictures(folder / "pictures"))
        ended = made.run(**SPEC)
        torch.set_num_threads(threads)
    return result(made, ended)


@pytest.fixture
def uninterrupted(whole_run: Any, single_thread: None) -> Any:
    """The result of a run that nothing interrupted."""
    return whole_run


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


@pytest.mark.parametrize("step", [1, 5, 6, *(pytest.param(step, marks=pytest.mark.slow) for step in (2, 3, 9, 11))])
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
    """Run `work` in a forked process and kill that process after so many seconds, unless it ends first.

    Returns:
        Whether it was killed before it ended.
    """
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException:  # noqa: BLE001
            os._exit(1)
    deadline = time.monotonic() + seconds
    ended = status = 0
    while not ended and time.monotonic() < deadline:
        time.sleep(0.005)
        ended, status = os.waitpid(child, os.WNOHANG)
    if not ended:
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status):
        assert os.WEXITSTATUS(status) == 0
        return False
    return True


@pytest.mark.slow
@pytest.mark.one_stack
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
        assert [file.name for file in ended.previews if file.exists()] == [file.name for file in whole.previews]
    assert not list(trainee.host.info().runs_folder.rglob("*.tmp"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_preview_that_was_not_drawn_any_more_is_drawn_later(trainee: Trainee, single_thread: None) -> None:
    """The process ends after a step was saved, while its second preview is drawn."""
    spec = {"steps": 4, "save_every": 2, "preview_every": 2, "preview_prompt": "a [name]\nthe [name]"}
    whole = trainee.run(**spec)
    drawn = [file.read_bytes() for file in whole.previews]
    trainee.reset()

    def work() -> None:
        trainee.host.requests.clear()
        trainee.host.on_txt2img = lambda _request: os._exit(0) if len(trainee.host.requests) == 4 else None
        trainee.run(**spec)

    assert not killed(work, 60)
    (left,) = (state for state in trainee.fresh_runs().list() if state.id != whole.id)
    assert (left.status, len(left.previews)) == ("interrupted", 3)
    ended = trainee.wait(trainee.services.runs.resume(left.id))
    assert [file.name for file in ended.previews] == [file.name for file in whole.previews]
    assert [file.read_bytes() for file in ended.previews] == drawn


def check_files(made: Trainee) -> None:
    """Whatever stands under a final name can be read."""
    for file in made.host.info().embeddings_folder.glob("*.pt"):
        read_embedding(file)
    runs = made.host.info().runs_folder
    for file in runs.rglob("*.pt"):
        if not file.name.startswith("."):
            read_embedding(file)
    for file in runs.rglob(RESUME_FILE):
        assert read_resume(file)["version"] == 1


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
    assert failed.error == "The run cannot be resumed, because this has changed: the images or their captions."
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


@pytest.mark.parametrize("spoil", [lambda _: b"nonsense", lambda data: data[:-100], lambda data: data[:300] + data[400:]])
def test_a_damaged_resume_file_is_reported(trainee: Trainee, spoil: Callable[[bytes], bytes]) -> None:
    stopped = stop_at(trainee, 5, SPEC)
    file = stopped.folder / RESUME_FILE
    damaged = spoil(file.read_bytes())
    file.write_bytes(damaged)
    failed = trainee.wait(trainee.services.runs.resume(stopped.id))
    assert failed.status == "failed"
    assert failed.error.startswith('"resume.safetensors" cannot be read: it is damaged')
    assert failed.error.count(". ") == 0
    assert failed.hint
    assert file.read_bytes() == damaged


@pytest.mark.parametrize(
    "optimizer", ["direction", *(pytest.param(name, marks=pytest.mark.slow) for name in ("adamw", "prodigy"))]
)
def test_every_optimizer_resumes_to_the_same_bits(trainee: Trainee, tmp_path: Path, single_thread: None, optimizer: str) -> None:
    if optimizer == "prodigy":
        pytest.importorskip("prodigyopt")
    spec = {**SPEC, "optimizer": optimizer, "learning_rate": "1" if optimizer == "prodigy" else "0.01"}
    other = new_trainee(tmp_path / "other", trainee.pictures)
    whole = result(other, other.run(**spec))
    ended = trainee.wait(trainee.services.runs.resume(stop_at(trainee, 5, spec).id))
    assert (ended.status, ended.error) == ("finished", "")
    assert result(trainee, ended) == whole


def as_an_earlier_version_left_it(folder: Path) -> None:
    saved = read_resume(folder / RESUME_FILE)
    torch.serialization.save(saved, folder / OLDER_FILE)
    (folder / RESUME_FILE).unlink()


def test_a_run_of_an_earlier_version_can_be_resumed(trainee: Trainee, uninterrupted: Any) -> None:
    stopped = stop_at(trainee, 5, SPEC)
    as_an_earlier_version_left_it(stopped.folder)
    ended = trainee.wait(trainee.services.runs.resume(stopped.id))
    assert (ended.status, ended.error) == ("finished", "")
    assert result(trainee, ended) == uninterrupted


class Command:
    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return Path.touch, (self.file,)


def test_a_pickle_in_an_earlier_versions_place_runs_nothing(trainee: Trainee, tmp_path: Path) -> None:
    stopped = stop_at(trainee, 5, SPEC)
    (stopped.folder / RESUME_FILE).unlink()
    torch.serialization.save({"version": 1, "circumstances": {}, "state": Command(tmp_path / "ran")}, stopped.folder / OLDER_FILE)
    failed = trainee.wait(trainee.services.runs.resume(stopped.id))
    assert failed.status == "failed"
    assert failed.error.startswith('"resume.pt" is damaged')
    assert not (tmp_path / "ran").exists()


def test_nothing_depends_on_readers_that_a_host_replaces(
    trainee: Trainee, uninterrupted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The WebUI and Forge put readers of their own in place of `torch.load`; other programs do so with safetensors'."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a reader that a host may have replaced was called")

    for name in ("torch.load", "torch.save", "safetensors.torch.load_file", "safetensors.torch.save_file"):
        monkeypatch.setattr(name, refuse)
    stopped = stop_at(trainee, 5, SPEC)
    ended = trainee.wait(trainee.services.runs.resume(stopped.id))
    assert (ended.status, ended.error) == ("finished", "")
    assert result(trainee, ended) == uninterrupted
    assert load_checkpoint(DEMO_CHECKPOINT).widths == {"clip_l": 64}


def test_an_embedding_of_the_name_stays_what_it_is_until_the_end(trainee: Trainee) -> None:
    stopped = stop_at(trainee, 5, SPEC)
    assert stopped.embedding == NAME
    assert trainee.file.exists()


def load_another_checkpoint(made: Trainee, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """From a step on, the host has another checkpoint loaded, as a WebUI in whose menu somebody has chosen one."""
    host = made.host
    real_info, real_yield_queue = host.info, host.yield_queue

    def loaded() -> bool:
        return bool(host.reports) and host.reports[-1].step >= step

    def yield_queue(release: Callable[[], object]) -> None:
        real_yield_queue(release)
        if loaded():
            raise HostFailed("The WebUI loaded another checkpoint meanwhile.", 'Load "fake" again, and resume the run.')

    def info() -> HostInfo:
        return replace(real_info(), checkpoint_name="other", checkpoint_hash="fedcba9876") if loaded() else real_info()

    monkeypatch.setattr(host, "yield_queue", yield_queue)
    monkeypatch.setattr(host, "info", info)


def test_an_embedding_names_the_checkpoint_that_it_was_trained_on(trainee: Trainee, monkeypatch: pytest.MonkeyPatch) -> None:
    load_another_checkpoint(trainee, monkeypatch, step=5)
    stopped = trainee.run(**SPEC)
    assert (stopped.status, stopped.step) == ("stopped", 5)
    assert trainee.host.info().checkpoint_name == "other"
    assert len(stopped.files) == 3
    for file in stopped.files:
        made = read_embedding(file)
        assert (made.checkpoint_name, made.checkpoint_hash) == ("fake", "0123456789"), file


def broken(_request: Any) -> None:
    raise RuntimeError("no picture today")


def test_what_was_said_of_a_part_that_has_ended_is_gone_once_it_is_resumed(
    trainee: Trainee, uninterrupted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        load_another_checkpoint(trainee, patch, step=5)
        patch.setattr(trainee.host, "on_txt2img", broken)
        stopped = trainee.run(**SPEC)
    said = " ".join(stopped.notes)
    assert "loaded another checkpoint" in said
    assert "The preview at step 0 failed" in said
    ended = trainee.wait(trainee.services.runs.resume(stopped.id))
    assert (ended.status, ended.error, ended.hint) == ("finished", "", "")
    assert [note for note in ended.notes if "checkpoint" in note or "preview" in note] == []
    assert trainee.fresh_runs().get(ended.id).notes == ended.notes
    assert result(trainee, ended) == uninterrupted


def test_a_start_that_nothing_was_better_than_comes_back(trainee: Trainee, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a stopped run has written is not what it is in the end, once it has been resumed."""
    before = bits(trainee.file)
    spec = {**SPEC, "eval_every": 6}
    stopped = stop_at(trainee, 5, spec)
    assert bits(trainee.file) != before
    monkeypatch.setattr("train_embedding.engine.training.state.best_evaluation", lambda *_: 0)
    ended = trainee.wait(trainee.services.runs.resume(stopped.id))
    assert (ended.status, ended.error) == ("finished", "")
    assert [note for note in ended.notes if "the embedding is unchanged" in note]
    assert bits(trainee.file) == before


def test_evaluations_that_a_killed_run_told_of_are_made_anew(trainee: Trainee, uninterrupted: Any) -> None:
    stopped = stop_at(trainee, 5, SPEC)
    told = replace(stopped, status="running", evaluations=(*stopped.evaluations, (6, 0.1, 0.2)), best_step=6)
    told.save()
    seen: list[RunState] = []
    again = type(trainee)(trainee.host, type(trainee.services)(trainee.host), trainee.pictures)
    again.host.on_report = lambda _progress: seen.append(again.services.runs.get(stopped.id))
    ended = again.wait(again.services.runs.resume(stopped.id))
    assert all(step <= state.step for state in seen for step, _, _ in state.evaluations)
    assert (seen[0].step, seen[0].best_step != 6) == (6, True)
    assert result(again, ended) == uninterrupted
