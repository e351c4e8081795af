"""Carrying out studies: the runs, where an interrupted one continues, lost workers, and the folder of results."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.services.studies.conftest import OpenHost
from train_embedding.embeddings.formats import read_embedding
from train_embedding.errors import Conflict
from train_embedding.messages import msg
from train_embedding.services.run_records import RunState
from train_embedding.services.studies import cluster
from train_embedding.services.studies.carrying_out import carry_out, vectors_sha256
from train_embedding.services.studies.cluster import Cluster, Resources
from train_embedding.services.studies.plan import PlannedRun, Study
from train_embedding.services.studies.results import Results, RunResult, newest_state, read_result
from train_embedding.services.studies.scheduling import MAX_LOSSES, Ended, ThisProcess, carry_out_study

OPTIONS = {
    "steps": 2, "batch_size": 1, "eval_every": 0, "save_every": 1, "preview_every": 0, "early_stopping": False,
    "choose_start_words": False, "preview_steps": 1,
}  # fmt: skip


def planned(subjects: Path, name: str = "anna", seed: int = 0, **values: Any) -> PlannedRun:
    return PlannedRun(name, str(subjects / "anna"), "red", 1, {**OPTIONS, "seed": seed}, **{"images": 1, **values})


def results_of(folder: Path, *runs: PlannedRun) -> Results:
    return Results(folder / "results", Study("test", runs))


@pytest.mark.slow
def test_a_study_trains_draws_and_collects(subjects: Path, tmp_path: Path, open_host: OpenHost) -> None:
    runs = planned(subjects), planned(subjects, seed=1), planned(subjects, "ben")
    results, shown = results_of(tmp_path, *runs), list[list[str]]()
    workers = ThisProcess(open_host)
    with results.hold():
        progress = carry_out_study(results, workers, lambda each: shown.append([one.status for one in each]))
    workers.close()
    assert [(each.status, each.step) for each in progress] == [("finished", 2)] * 3
    assert ["finished", "running", "waiting"] in shown
    assert sorted(path.name for path in (results.folder / "embeddings").iterdir()) == sorted(
        [f"{runs[0].id}.pt", f"{runs[1].id}.pt", "ben.pt"]
    )
    first = progress[0].result
    assert first is not None
    assert first.vectors_sha256 == vectors_sha256(read_embedding(results.folder / "embeddings" / f"{runs[0].id}.pt").vectors)
    assert (results.run_folder(runs[0]) / first.images[0]).read_bytes().startswith(b"\x89PNG")
    assert len({each.result.vectors_sha256 for each in progress}) == 2  # the name has no influence, the seed has
    assert results.unfinished() == []
    json.dumps([each.to_json() for each in progress])


@pytest.mark.slow
def test_a_stopped_run_continues_to_the_same_vectors(subjects: Path, tmp_path: Path, open_host: OpenHost) -> None:
    run = planned(subjects, images=0)
    run = replace(run, options={**run.options, "steps": 20})
    whole = carry_out(run, str(tmp_path / "whole"), open_host)

    def halfway() -> bool:
        state = newest_state(tmp_path / "parts")
        return state is not None and state.step >= 1

    stopped = carry_out(run, str(tmp_path / "parts"), open_host, halfway)
    assert stopped.status == "stopped"
    assert 1 <= stopped.step < 20
    again = carry_out(run, str(tmp_path / "parts"), open_host)
    assert (again.status, again.step, again.resumed) == ("finished", 20, 1)
    assert again.vectors_sha256 == whole.vectors_sha256
    assert carry_out(run, str(tmp_path / "parts"), open_host) == again


def test_a_run_that_fails_says_why_and_the_others_go_on(subjects: Path, tmp_path: Path, open_host: OpenHost) -> None:
    broken = replace(planned(subjects, "ben"), dataset=str(tmp_path / "gone"))
    results = results_of(tmp_path, broken, planned(subjects))
    workers = ThisProcess(open_host)
    progress = carry_out_study(results, workers)
    workers.close()
    assert [each.status for each in progress] == ["failed", "finished"]
    assert "does not exist" in progress[0].error
    assert [path.name for path in (results.folder / "embeddings").iterdir()] == ["anna.pt"]
    assert progress[1].result is not None
    assert (results.run_folder(progress[1].run) / progress[1].result.images[0]).read_bytes().startswith(b"\x89PNG")
    assert results.unfinished() == [broken]


def test_an_unexpected_error_is_a_result_too(subjects: Path, tmp_path: Path) -> None:
    def broken(_folder: Path, _checkpoint: str) -> Any:
        raise ZeroDivisionError("a bug")

    result = carry_out(planned(subjects), str(tmp_path), broken)
    assert (result.status, result.error) == ("failed", "Training failed with an unexpected error: ZeroDivisionError: a bug")


def test_a_run_in_progress_has_a_remaining_time(subjects: Path, tmp_path: Path) -> None:
    run = planned(subjects)
    results = results_of(tmp_path, run)
    folder = results.run_folder(run) / "runs" / "20260101-000000-000"
    folder.mkdir(parents=True)
    RunState("id", "anna", folder, run.spec(), status="running", step=2, steps=8, seconds=10.0).save()
    (progress,) = results.progress({run.id})
    assert (progress.status, progress.step, progress.to_json()["eta_seconds"]) == ("running", 2, 30.0)


def test_two_commands_do_not_work_on_the_same_results(subjects: Path, tmp_path: Path) -> None:
    results = results_of(tmp_path, planned(subjects))
    with results.hold(), pytest.raises(Conflict, match="Another command"), results_of(tmp_path, planned(subjects)).hold():
        pass


def test_a_damaged_result_is_as_none(tmp_path: Path) -> None:
    RunResult("failed", error=msg("There is not enough memory.")).save(tmp_path)
    assert read_result(tmp_path) == RunResult("failed", error=msg("There is not enough memory."))
    for text in ("", "[]", '{"status": "exploded"}', '{"step": 3}'):
        (tmp_path / "result.json").write_text(text)
        assert read_result(tmp_path) is None


class FakeWorkers:
    """Workers that note what they do. `outcomes` are those of the attempts at a run, by embedding: finished unless said."""

    def __init__(self, count: int = 1, **outcomes: list[str]) -> None:
        self.begun: list[str] = []
        self.stopped = False
        self._count, self._outcomes = count, outcomes
        self._busy: list[tuple[PlannedRun, str]] = []

    def free(self) -> int:
        return self._count - len(self._busy)

    def begin(self, run: PlannedRun, place: str) -> None:
        self.begun.append(run.embedding)
        self._busy.append((run, place))

    def wait(self, seconds: float) -> list[Ended]:
        if not self._busy:
            return []
        run, place = self._busy.pop(0)
        outcome = (self._outcomes.get(run.embedding) or ["finished"]).pop(0)
        if outcome == "lost":
            return [Ended(run.id, lost=True)]
        RunResult("stopped" if self.stopped else "finished").save(Path(place))
        return [Ended(run.id)]

    def stop(self) -> None:
        self.stopped = True

    def close(self) -> None:
        pass


def test_the_run_of_a_lost_worker_is_begun_again_first(subjects: Path, tmp_path: Path) -> None:
    runs = [planned(subjects, name) for name in ("a", "b", "c")]
    workers = FakeWorkers(a=["lost"])
    progress = carry_out_study(results_of(tmp_path, *runs), workers)
    assert workers.begun == ["a", "a", "b", "c"]
    assert {each.status for each in progress} == {"finished"}


def test_a_run_that_kills_its_workers_is_given_up(subjects: Path, tmp_path: Path) -> None:
    workers = FakeWorkers(a=["lost"] * 9)
    progress = carry_out_study(results_of(tmp_path, planned(subjects, "a"), planned(subjects, "b")), workers)
    assert workers.begun == ["a"] * MAX_LOSSES + ["b"]
    assert [each.status for each in progress] == ["failed", "finished"]
    assert progress[0].error == "The run was given up after 3 workers died while they carried it out."


def test_after_a_stop_no_run_is_begun(subjects: Path, tmp_path: Path) -> None:
    runs = [planned(subjects, name) for name in ("a", "b", "c")]
    workers = FakeWorkers()
    results = results_of(tmp_path, *runs)
    progress = carry_out_study(results, workers, stopping=lambda: len(workers.begun) == 1)
    assert workers.stopped
    assert workers.begun == ["a"]
    assert [each.status for each in progress] == ["finished", "waiting", "waiting"]
    assert [run.embedding for run in results.unfinished()] == ["b", "c"]


class RayError(Exception):
    pass


class FakeRay:
    """As much of Ray as a study uses, in this process. Actors whose number is in `dead` die in their first run."""

    class exceptions:
        RayError = RayError

    def __init__(self, dead: tuple[int, ...] = (), **resources: float) -> None:
        self.options: dict[str, Any] = {}
        self.actors: list[Any] = []
        self.killed: list[Any] = []
        self.connected = False
        self._dead = dead
        self._resources = resources or {"CPU": 2.0}

    def init(self, **options: Any) -> None:
        if options["address"] == "nowhere":
            raise ConnectionError("no route\nto host")
        self.connected = True

    def cluster_resources(self) -> dict[str, float]:
        return self._resources

    def remote(self, **options: Any) -> Callable[[type], Any]:
        self.options = options
        return lambda kind: _Remote(lambda *arguments: self._actor(kind(*arguments)))

    def _actor(self, worker: Any) -> Any:
        actor = _Actor(worker, len(self.actors) in self._dead)
        self.actors.append(actor)
        return actor

    def wait(self, answers: list[Any], num_returns: int, timeout: float) -> tuple[list[Any], list[Any]]:
        return answers[:num_returns], answers[num_returns:]

    def get(self, answer: Any) -> Any:
        return answer()

    def kill(self, actor: Any) -> None:
        self.killed.append(actor)

    def shutdown(self) -> None:
        self.connected = False


class _Remote:
    def __init__(self, call: Callable[..., Any]) -> None:
        self.remote = call


class _Actor:
    def __init__(self, worker: Any, dies: bool) -> None:
        self.worker, self._dies = worker, dies
        self.ready = _Remote(lambda: worker.ready)
        self.stop = _Remote(worker.stop)
        self.carry_out = _Remote(lambda *arguments: lambda: self._carry_out(*arguments))

    def _carry_out(self, run: dict[str, Any], place: str) -> RunResult:
        if self._dies:
            raise RayError("The actor died unexpectedly.\nMore lines")
        return self.worker.carry_out(run, place)


def no_training(run: PlannedRun, place: str, open_host: Any, stopping: Callable[[], bool]) -> RunResult:
    result = RunResult("stopped" if stopping() else "finished")
    result.save(Path(place))
    return result


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "carry_out", no_training)
    monkeypatch.setattr("torch.set_num_threads", lambda _threads: None)


@pytest.mark.usefixtures("untrained")
def test_a_cluster_replaces_dead_workers(subjects: Path, tmp_path: Path, open_host: OpenHost) -> None:
    ray = FakeRay(dead=(0,), CPU=2.0, GPU=4.0)
    workers = Cluster("auto", open_host, Resources(gpus=2.0), ray)
    progress = carry_out_study(results_of(tmp_path, *(planned(subjects, name) for name in "abcd")), workers)
    assert {each.status for each in progress} == {"finished"}
    assert len(ray.actors) == 3
    assert ray.killed == [ray.actors[0]]
    assert (ray.options["num_gpus"], ray.options["num_cpus"], ray.options["max_restarts"]) == (2.0, 1, 0)
    workers.close()
    assert not ray.connected
    assert set(ray.killed) == set(ray.actors)


@pytest.mark.usefixtures("untrained")
def test_a_cluster_is_told_to_stop(subjects: Path, tmp_path: Path, open_host: OpenHost) -> None:
    workers = Cluster("local", open_host, Resources(workers=1), FakeRay())
    assert (workers.free(), workers.wait(0.0), workers.free()) == (0, [], 1)
    run = planned(subjects)
    workers.begin(run, str(tmp_path))
    workers.stop()
    assert workers.wait(0.0) == [Ended(run.id)]
    assert read_result(tmp_path) == RunResult("stopped")


@pytest.mark.parametrize(
    ("resources", "available", "count"),
    [
        (Resources(), {"CPU": 3.0}, 3),
        (Resources(cpus=2), {"CPU": 5.0}, 2),
        (Resources(), {"CPU": 16.0, "GPU": 4.0}, 4),
        (Resources(gpus=0.25), {"CPU": 16.0, "GPU": 2.0}, 8),
        (Resources(gpus=0.1), {"CPU": 16.0, "GPU": 1.0}, 10),
        (Resources(gpus=0.5, workers=3), {"CPU": 16.0, "GPU": 2.0}, 3),
    ],
)
@pytest.mark.usefixtures("untrained")
def test_as_many_runs_as_fit(resources: Resources, available: dict[str, float], count: int, open_host: OpenHost) -> None:
    ray = FakeRay(**available)
    Cluster("auto", open_host, resources, ray)
    assert len(ray.actors) == count


def test_a_cluster_that_cannot_be_used_is_refused(open_host: OpenHost) -> None:
    with pytest.raises(cluster.HostFailed, match="cannot be reached: no route to host"):
        Cluster("nowhere", open_host, Resources(), FakeRay())
    ray = FakeRay(CPU=4.0, GPU=1.0)
    with pytest.raises(cluster.InvalidInput, match="No run fits the cluster, which has 1 GPUs and 4 CPU cores"):
        Cluster("auto", open_host, Resources(gpus=2.0), ray)
    assert not ray.connected


def test_without_ray_the_way_to_install_it_is_named(open_host: OpenHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(cluster.NotFound, match=r"\[cluster\]"):
        Cluster("local", open_host, Resources())
