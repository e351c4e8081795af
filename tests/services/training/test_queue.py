"""The queue: order, what is checked when, failures, pauses, and programs that end or are killed."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.checkpoints import pictures
from tests.run_folders import stored_run
from tests.training import NAME, Trainee, trainee
from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.formats import write_embedding
from train_embedding.errors import BeingTrained, Conflict, InvalidInput, NotFound, NothingToTrainOn, StorageFailed
from train_embedding.hosts.base import HostInfo
from train_embedding.services import Services
from train_embedding.services.datasets import Upload
from train_embedding.services.training import queue_file, queue_records, queue_worker
from train_embedding.services.training.queue import Queue
from train_embedding.services.training.queue_records import QueueEntry

__all__ = ["pictures", "trainee"]

PATIENCE = 60.0
"Seconds to wait for the queue, whose trainings take less than a second."


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_worker, "TICK", 0.02)
    monkeypatch.setattr(queue_worker, "RETRY_SECONDS", 0.05)


@pytest.fixture
def queue(trainee: Trainee) -> Queue:
    return trainee.services.queue


def make(trainee: Trainee, *names: str) -> None:
    """Further embeddings."""
    assert trainee.host.the_model is not None
    for name in names:
        vectors = trainee.host.the_model.token_embeddings("red star")
        write_embedding(Embedding(name, vectors, step=10), trainee.host.info().embeddings_folder / f"{name}.pt")
    trainee.host.reload_embeddings()


def add(trainee: Trainee, *names: str, **values: Any) -> list[QueueEntry]:
    """Creates embeddings and adds a short training of each."""
    make(trainee, *names)
    return [trainee.services.queue.add(trainee.spec(**{"embedding": name, "steps": 2, **values})) for name in names]


def work_off(services: Services) -> list[str]:
    """Trains all that can be trained, as the command line does; returns the embeddings in the order in which they were."""
    trained: list[str] = []
    with services.queue.work():
        while (state := services.queue.begin_next()) is not None:
            trained.append(state.embedding)
            services.queue.finish()
    return trained


@contextmanager
def serving(services: Services) -> Iterator[Queue]:
    """As an open program works on the queue."""
    services.queue.serve()
    try:
        yield services.queue
    finally:
        services.queue.close()


def wait(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(0.01)


def shown(queue: Queue) -> list[tuple[str, str]]:
    return [(entry.spec.embedding, entry.status) for entry in queue.contents().entries]


def test_trainings_are_done_in_order_and_every_run_is_kept(trainee: Trainee, queue: Queue) -> None:
    added = add(trainee, "a", "b", "c")
    assert [entry.id for entry in added] == ["1", "2", "3"]
    assert shown(queue) == [("a", "waiting"), ("b", "waiting"), ("c", "waiting")]
    assert trainee.services.runs.list() == [], "adding begins nothing"
    assert work_off(trainee.services) == ["a", "b", "c"]
    entries = queue.contents().entries
    assert [entry.status for entry in entries] == ["finished"] * 3
    assert [trainee.services.runs.get(entry.run).embedding for entry in entries] == ["a", "b", "c"]
    assert work_off(trainee.services) == []
    assert [trainee.services.library.get(name).step for name in "abc"] == [12, 12, 12]


def test_an_open_program_begins_by_itself_what_is_added_here_or_by_another_program(trainee: Trainee, queue: Queue) -> None:
    with serving(trainee.services):
        add(trainee, "a", "b")
        Services(trainee.host).queue.add(trainee.spec(steps=1))
        wait(lambda: [status for _, status in shown(queue)] == ["finished"] * 3, "the end of the queue")


def test_one_that_fails_says_why_and_the_others_are_trained(
    trainee: Trainee, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(trainee, "a", "b", "c", "d")
    trainee.services.library.delete("a")
    check = trainee.services.runs.check

    def broken(spec: Any) -> Any:
        if spec.embedding == "b":
            raise RuntimeError("a cosmic ray")
        return check(spec)

    monkeypatch.setattr(trainee.services.runs, "check", broken)
    fails_in_c = trainee.host.on_report
    trainee.host.on_report = lambda _progress: _raise_in(trainee, "c")
    assert work_off(trainee.services) == ["c", "d"]
    trainee.host.on_report = fails_in_c
    a, b, c, d = queue.contents().entries
    assert [entry.status for entry in (a, b, c, d)] == ["failed", "failed", "failed", "finished"]
    assert a.error == 'There is no embedding "a".'
    assert "RuntimeError: a cosmic ray" in b.error
    assert "the disk has gone" in c.error
    assert Services(trainee.host).queue.get("3").error == c.error, "the reason is kept"


def _raise_in(trainee: Trainee, name: str) -> None:
    current = trainee.services.runs.current()
    if current is not None and current.embedding == name:
        raise RuntimeError("the disk has gone")


def test_what_cannot_be_trained_is_not_added(trainee: Trainee, queue: Queue, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotFound, match='There is no embedding "nobody"'):
        queue.add(trainee.spec(embedding="nobody"))
    with pytest.raises(NotFound):
        queue.add(trainee.spec(dataset=str(tmp_path / "nowhere")))
    with pytest.raises(NothingToTrainOn):
        queue.add(trainee.spec(dataset=str(tmp_path / "empty")))
    assert queue.contents().entries == ()
    assert not (trainee.host.info().runs_folder.parent / queue_file.FOLDER).exists()


def test_a_dataset_that_is_gone_when_its_turn_comes_is_named(trainee: Trainee, queue: Queue, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for picture in trainee.pictures.glob("*.png"):
        (folder / picture.name).write_bytes(picture.read_bytes())
    add(trainee, "a", dataset=str(folder))
    add(trainee, "b")
    folder.rename(tmp_path / "elsewhere")
    assert work_off(trainee.services) == ["b"]
    assert str(folder) in queue.get("1").error


def test_a_renamed_embedding_is_followed(trainee: Trainee, queue: Queue) -> None:
    add(trainee, "a", "b")
    trainee.services.library.rename("a", "teddy")
    assert shown(queue) == [("teddy", "waiting"), ("b", "waiting")]
    Services(trainee.host).library.rename("b", "bear")  # in another process
    assert work_off(trainee.services) == ["teddy", "bear"]
    trainee.services.library.rename("teddy", "ted")
    assert shown(queue)[0] == ("teddy", "finished"), "what has been trained is history"


def test_settings_and_order(trainee: Trainee, queue: Queue) -> None:
    a, b, c = add(trainee, "a", "b", "c")
    assert [queue.position(entry.id) for entry in (a, b, c)] == [1, 2, 3]
    queue.move(c.id, 1)
    assert [name for name, _ in shown(queue)] == ["c", "a", "b"]
    queue.move(c.id, 2)
    assert [name for name, _ in shown(queue)] == ["a", "c", "b"]
    queue.move(a.id, 99)
    assert [name for name, _ in shown(queue)] == ["c", "b", "a"]
    with pytest.raises(InvalidInput, match="0 is not a position in the queue"):
        queue.move(a.id, 0)
    with pytest.raises(NotFound, match="There is no job 9 in the queue"):
        queue.move("9", 1)
    assert work_off(trainee.services) == ["c", "b", "a"]
    with pytest.raises(Conflict, match="Job 3 is not waiting"):
        queue.move(c.id, 1)
    assert queue.position(c.id) == 0


def test_the_order_can_change_while_one_is_trained(trainee: Trainee, queue: Queue) -> None:
    add(trainee, "a", "b", "c", "d")
    moved: list[object] = []

    def act(_progress: object) -> None:
        if not moved:
            moved.append(queue.move("4", 1))
            queue.remove("2")

    trainee.host.on_report = act
    assert work_off(trainee.services) == ["a", "d", "c"]


def test_a_pause_lets_the_present_training_end(trainee: Trainee, queue: Queue) -> None:
    trainee.host.on_report = lambda _progress: queue.pause()
    with serving(trainee.services):
        add(trainee, "a", "b")
        wait(lambda: shown(queue)[0] == ("a", "finished"), "the end of the first training")
        time.sleep(0.1)
        assert shown(queue)[1] == ("b", "waiting")
        assert queue.contents().paused
        trainee.host.on_report = lambda _progress: None
        queue.proceed()
        wait(lambda: shown(queue)[1] == ("b", "finished"), "the end of the second training")


def test_a_removed_training_can_be_restored(trainee: Trainee, queue: Queue) -> None:
    add(trainee, "a", "b")
    removed = queue.remove("1")
    assert shown(queue) == [("b", "waiting")]
    assert [entry.id for entry in queue.removed()] == ["1"]
    assert queue.restore("1") == removed
    assert shown(queue) == [("b", "waiting"), ("a", "waiting")]
    with pytest.raises(NotFound, match="Job 1 is not among the removed jobs"):
        queue.restore("1")
    with pytest.raises(NotFound):
        queue.remove("7")


def test_the_present_training_is_stopped_and_not_removed(trainee: Trainee, queue: Queue) -> None:
    add(trainee, "a", "b")
    refused: list[Conflict] = []

    def act(_progress: object) -> None:
        if refused:
            return
        with pytest.raises(Conflict, match='The training of "a" is in progress') as caught:
            queue.remove("1")
        refused.append(caught.value)
        trainee.services.runs.stop(queue.get("1").run)

    trainee.host.on_report = act
    assert work_off(trainee.services) == ["a", "b"]
    assert shown(queue) == [("a", "stopped"), ("b", "finished")]


def test_ended_ones_are_cleared_and_their_runs_stay(trainee: Trainee, queue: Queue) -> None:
    add(trainee, "a")
    work_off(trainee.services)
    add(trainee, "b")
    assert queue.clear_ended() == 1
    assert shown(queue) == [("b", "waiting")]
    assert [state.embedding for state in trainee.services.runs.list()] == ["a"]
    assert queue.clear_ended() == 0
    assert queue.add(trainee.spec()).id == "3", "numbers are not used again"


def test_a_failed_training_is_tried_again(trainee: Trainee, queue: Queue) -> None:
    add(trainee, "a", "b")
    trainee.services.library.delete("a")
    work_off(trainee.services)
    make(trainee, "a")
    assert queue.retry("1").error == ""
    assert shown(queue) == [("b", "finished"), ("a", "waiting")]
    assert work_off(trainee.services) == ["a"]
    with pytest.raises(Conflict, match="Job 1 has neither failed nor been stopped"):
        queue.retry("1")


def test_a_stopped_training_that_is_tried_again_is_resumed(trainee: Trainee, queue: Queue) -> None:
    add(trainee, "a", steps=6)
    trainee.host.on_report = lambda progress: progress.step == 3 and trainee.services.runs.stop(queue.get("1").run)
    work_off(trainee.services)
    trainee.host.on_report = lambda _progress: None
    assert shown(queue) == [("a", "stopped")]
    queue.retry("1")
    assert work_off(trainee.services) == ["a"]
    (state,) = trainee.services.runs.list()
    assert (state.status, state.step) == ("finished", 6)


def test_a_second_training_of_an_embedding_says_that_it_continues_the_first(trainee: Trainee, queue: Queue) -> None:
    (first,) = add(trainee, "a")
    second = queue.add(trainee.spec(embedding="a", steps=2))
    assert [note for note in second.notes if note not in first.notes] == [
        '"a" is already in the queue. This job continues from the result of the earlier one.'
    ]
    work_off(trainee.services)
    assert trainee.services.library.get("a").step == 14


def test_train_now_is_refused_while_the_queue_trains_and_goes_first_otherwise(trainee: Trainee, queue: Queue) -> None:
    with serving(trainee.services), trainee.host.exclusive("an image"):
        add(trainee, "a")
        wait(lambda: shown(queue) == [("a", "running")], "the start")
        with pytest.raises(BeingTrained, match="or add the new training to the queue"):
            trainee.start()


def test_the_queue_waits_for_a_run_that_was_started_by_hand(trainee: Trainee, queue: Queue) -> None:
    with serving(trainee.services):
        with trainee.host.exclusive("an image"):
            by_hand = trainee.start(steps=2)
            add(trainee, "a")
            time.sleep(0.2)
            assert shown(queue) == [("a", "waiting")]
        wait(lambda: shown(queue) == [("a", "finished")], "the end of the queue")
        assert trainee.services.runs.get(by_hand.id).status == "finished"


def test_what_is_added_at_the_end_of_a_look_begins_at_once(
    trainee: Trainee, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_worker, "RETRY_SECONDS", 1000.0)
    pause_at_end, later = queue._worker._pause_at_end, list[QueueEntry]()

    def add_another() -> None:
        if not later:
            later.extend(add(trainee, "b"))
        pause_at_end()

    monkeypatch.setattr(queue._worker, "_pause_at_end", add_another)
    with serving(trainee.services):
        add(trainee, "a")
        wait(lambda: shown(queue) == [("a", "finished"), ("b", "finished")], "the end of both")


def test_the_queue_is_paused_after_a_restart_although_a_run_was_started_by_hand(trainee: Trainee) -> None:
    add(trainee, "a")
    services = Services(trainee.host)
    with trainee.host.exclusive("an image"):
        by_hand = services.runs.start(trainee.spec(steps=2))
        services.queue.serve()
        time.sleep(0.2)
    services.runs.wait(by_hand.id)
    try:
        wait(lambda: services.queue.contents().paused, "the pause")
    finally:
        services.queue.close()
    assert shown(services.queue) == [("a", "waiting")]


def test_jobs_of_the_host_come_in_between(trainee: Trainee, queue: Queue) -> None:
    add(trainee, "a", "b")
    made = threading.Event()

    def image() -> None:
        with trainee.host.exclusive("an image"):
            made.set()

    threads: list[threading.Thread] = []

    def ask(_progress: object) -> None:
        if not threads:
            threads.append(threading.Thread(target=image))
            threads[0].start()
            wait(trainee.host.has_waiters, "an image that waits")

    trainee.host.on_report = ask
    assert work_off(trainee.services) == ["a", "b"]
    threads[0].join()
    assert trainee.host.jobs == ["Training a", "an image", "Training b"]
    assert made.is_set()


def test_a_training_waits_for_the_checkpoint_that_it_was_added_for(trainee: Trainee, queue: Queue) -> None:
    add(trainee, "a", "b")
    other = _ChangedHost(trainee)
    other.checkpoint = "another"
    assert work_off(trainee.services) == []
    entry = queue.get("1")
    assert (entry.status, entry.error) == ("waiting", 'This job was added for the checkpoint "fake".')
    with serving(trainee.services):
        wait(lambda: queue.contents().paused, "the pause, since it was left unfinished by a program that has ended")
        queue.proceed()
        time.sleep(0.1)
        assert shown(queue) == [("a", "waiting"), ("b", "waiting")]
        other.checkpoint = "fake"
        wait(lambda: shown(queue) == [("a", "finished"), ("b", "finished")], "the end of the queue")
    assert queue.get("1").error == ""


class _ChangedHost:
    """Lets the host of a trainee have another checkpoint."""

    def __init__(self, trainee: Trainee) -> None:
        self.checkpoint = "fake"
        info = trainee.host.info

        def changed() -> HostInfo:
            loaded = self.checkpoint != "fake"
            return replace(
                info(), checkpoint_name=self.checkpoint, checkpoint_hash="f" * 10 if loaded else info().checkpoint_hash
            )

        trainee.host.info = changed


def test_an_embedding_that_another_program_trains_is_waited_for(trainee: Trainee, queue: Queue) -> None:
    add(trainee, "a", "b")
    with Services(trainee.host).library.lock_for_training("a"):
        assert work_off(trainee.services) == ["b"]
        assert (queue.get("1").status, queue.get("1").error) == ("waiting", '"a" is being trained.')
    assert work_off(trainee.services) == ["a"]
    assert len(trainee.services.runs.list()) == 2, "no empty run is left"


def test_only_one_program_works_on_the_queue(trainee: Trainee, queue: Queue) -> None:
    add(trainee, "a")
    other = Services(trainee.host)
    with queue.work(), pytest.raises(Conflict, match="Another program is working on the queue"):
        work_off(other)
    assert work_off(other) == ["a"]
    assert shown(queue) == [("a", "finished")]


def test_a_program_that_ends_orderly_leaves_its_training_to_be_resumed(trainee: Trainee, queue: Queue) -> None:
    ended: list[threading.Thread] = []

    def act(progress: Any) -> None:
        if progress.step == 3 and not ended:
            closing = threading.Thread(target=queue.close)
            closing.start()
            ended.append(closing)
            wait(lambda: trainee.services.runs.list()[0].status == "stopping", "the stop")

    trainee.host.on_report = act
    queue.serve()
    add(trainee, "a", "b", steps=6)
    wait(lambda: bool(ended), "the third step")
    ended[0].join()
    contents = Services(trainee.host).queue.contents()
    assert [(entry.spec.embedding, entry.status) for entry in contents.entries] == [("a", "interrupted"), ("b", "waiting")]
    assert (contents.paused, contents.why_paused) == (True, "The program that was working on the queue has ended.")
    again = Services(trainee.host)
    with serving(again):
        time.sleep(0.1)
        assert shown(again.queue)[0] == ("a", "interrupted"), "nothing begins by itself"
        again.queue.proceed()
        wait(lambda: [status for _, status in shown(again.queue)] == ["finished"] * 2, "the end of the queue")
    assert sorted((state.embedding, state.step) for state in again.runs.list()) == [("a", 6), ("b", 6)]


def killed_at(trainee: Trainee, step: int, instant: Callable[[], None]) -> None:
    """Works on the queue in a process that kills itself."""
    child = os.fork()
    if child == 0:
        try:
            services = Services(trainee.host)
            trainee.host.on_report = lambda progress: progress.step == step and os._exit(9)
            instant()
            work_off(services)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WEXITSTATUS(status) == 9


forks = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]


def marked(test: Any) -> Any:
    for mark in forks:
        test = mark(test)
    return test


@marked
def test_a_killed_training_is_resumed_first_and_not_run_twice(trainee: Trainee) -> None:
    add(trainee, "a", "b", steps=6, save_every=1)
    killed_at(trainee, 4, lambda: None)
    services = Services(trainee.host)
    assert shown(services.queue) == [("a", "interrupted"), ("b", "waiting")]
    with serving(services):
        wait(lambda: services.queue.contents().paused, "the pause")
        assert services.queue.contents().why_paused == "The program was restarted."
        services.queue.proceed()
        wait(lambda: [status for _, status in shown(services.queue)] == ["finished"] * 2, "the end of the queue")
    assert sorted((state.embedding, state.step) for state in services.runs.list()) == [("a", 6), ("b", 6)]
    assert services.library.get("a").step == 16


@marked
@pytest.mark.parametrize("instant", ["before the run", "before its end is noted"])
def test_killed_between_two_steps_of_the_queue(trainee: Trainee, monkeypatch: pytest.MonkeyPatch, instant: str) -> None:
    """The file names the run before it begins; when that has ended, only the file does not know it yet."""
    from train_embedding.services.training.runs import Runs

    add(trainee, "a", "b")

    def patch() -> None:
        if instant == "before the run":
            Runs._begin = lambda *_: os._exit(9)  # pyright: ignore
        else:
            Queue.finish = lambda self: (self._runs.wait(self.contents().running.run), os._exit(9))  # pyright: ignore

    killed_at(trainee, -1, patch)
    services = Services(trainee.host)
    assert [entry.status for entry in services.queue.contents().entries] == ["interrupted", "waiting"]
    assert work_off(services) == (["a", "b"] if instant == "before the run" else ["b"])
    assert shown(services.queue) == [("a", "finished"), ("b", "finished")]
    assert [services.library.get(name).step for name in "ab"] == [12, 12]


def test_a_run_that_was_deleted_is_not_trained_again_unasked(trainee: Trainee, queue: Queue) -> None:
    add(trainee, "a")
    stored = stored_run(trainee.host, spec={"embedding": "a"}, status="interrupted", step=1)
    queue._file.change(lambda contents: contents.map(lambda entry: replace(entry, status="running", run=stored.id)))
    trainee.services.runs.delete(stored.id)
    assert work_off(trainee.services) == []
    assert queue.get("1").error == f"Its run {stored.id} was deleted."
    queue.retry("1")
    assert work_off(trainee.services) == ["a"]


def test_a_run_that_is_deleted_as_soon_as_it_has_ended_does_not_stop_the_others(
    trainee: Trainee, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(trainee, "a", "b")
    runs, deleted = trainee.services.runs, list[str]()
    wait_for = runs.wait

    def wait_and_delete(run_id: str) -> Any:
        state = wait_for(run_id)
        if not deleted:
            deleted.append(runs.delete(run_id))
            return wait_for(run_id)
        return state

    monkeypatch.setattr(runs, "wait", wait_and_delete)
    assert work_off(trainee.services) == ["a", "b"]
    assert shown(queue) == [("a", "failed"), ("b", "finished")]
    assert queue.get("1").error == f"Its run {deleted[0]} was deleted."


def test_a_run_that_was_resumed_by_hand_is_not_resumed_again(trainee: Trainee, queue: Queue) -> None:
    add(trainee, "a", steps=4)
    trainee.host.on_report = lambda progress: progress.step == 2 and queue.close()
    work_off(trainee.services)
    trainee.host.on_report = lambda _progress: None
    services = Services(trainee.host)
    assert shown(services.queue) == [("a", "interrupted")]
    services.runs.wait(services.runs.resume(services.queue.get("1").run).id)
    assert work_off(services) == []
    assert shown(services.queue) == [("a", "finished")]


def test_the_version_changes_with_the_queue_and_the_file_is_read_once(
    trainee: Trainee, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Services(trainee.host).queue
    versions = [other.version()]
    read: list[Path] = []
    load = queue_file.read_queue
    monkeypatch.setattr(queue_file, "read_queue", lambda file: read.append(file) or load(file))
    for act in (lambda: add(trainee, "a"), lambda: queue.pause(), lambda: queue.move("1", 1), lambda: queue.remove("1")):
        act()
        versions.append(other.version())
    assert len(set(versions)) == 4, "moving the only training changes nothing"
    read.clear()
    for _ in range(5):
        other.version()
        other.contents()
    assert read == []


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, '{"entries": 3, "paused": false, "next": 1}', "\ufffe"])
def test_a_damaged_file_is_kept_and_the_queue_goes_on(trainee: Trainee, queue: Queue, text: str) -> None:
    add(trainee, "a")
    file = queue._file.path
    file.write_text(text, encoding="utf-8")
    services = Services(trainee.host)
    assert services.queue.contents().entries == ()
    services.queue.add(trainee.spec())
    assert file.with_name("queue.damaged.json").read_text(encoding="utf-8") == text
    assert shown(Services(trainee.host).queue) == [(NAME, "waiting")]


def test_a_training_of_another_version_is_kept(trainee: Trainee, queue: Queue) -> None:
    add(trainee, "a", "b")
    file = queue._file.path
    values = json.loads(file.read_text())
    values["entries"][0]["status"] = "dreaming"
    values["entries"][1]["spec"]["flip"] = values["entries"][1]["spec"].pop("random_flip")
    file.write_text(json.dumps(values))
    services = Services(trainee.host)
    assert shown(services.queue) == [("b", "waiting")]
    services.queue.add(trainee.spec())
    assert [entry["status"] for entry in json.loads(file.read_text())["entries"]] == ["waiting", "waiting", "dreaming"]


def test_a_full_disk_leaves_the_queue_as_it_was(trainee: Trainee, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    add(trainee, "a")

    def full(path: Path, _data: bytes) -> None:
        raise StorageFailed(queue_worker.ENDED)

    with monkeypatch.context() as patch:
        patch.setattr(queue_file, "write_atomically", full)
        with pytest.raises(StorageFailed):
            queue.remove("1")
        with pytest.raises(StorageFailed):
            work_off(trainee.services)
    assert shown(queue) == [("a", "waiting")]
    assert trainee.services.runs.list() == []
    assert work_off(trainee.services) == ["a"]


def test_the_queue_has_a_limit_and_keeps_the_newest_that_have_ended(
    trainee: Trainee, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train_embedding.services.training.queue.MAX_UNFINISHED", 2)
    monkeypatch.setattr(queue_records, "MAX_KEPT", 2)
    add(trainee, "a", "b")
    with pytest.raises(Conflict, match="The queue holds at most 2 jobs"):
        add(trainee, "c")
    work_off(trainee.services)
    add(trainee, "c", "d")
    work_off(trainee.services)
    assert shown(queue) == [("c", "finished"), ("d", "finished")]


def test_a_dataset_is_kept_while_a_training_needs_it(trainee: Trainee, tmp_path: Path) -> None:
    folder, datasets = Path(trainee.spec().dataset), trainee.services.datasets
    images = [Upload(file.name, file) for file in folder.glob("*.png")]
    own = datasets.create("cat", images).folder
    datasets.create("cat 2", images)
    (entry,) = add(trainee, "first", dataset="cat")
    with pytest.raises(Conflict, match='The training of "first" in the queue uses this dataset'):
        datasets.delete("cat")
    datasets.delete("cat 2")
    trainee.services.queue.remove(entry.id)
    run = trainee.services.runs.start(trainee.spec(embedding="first", dataset="cat", steps=100_000))
    with pytest.raises(Conflict, match='The training of "first" uses this dataset'):
        datasets.delete(own)
    trainee.services.runs.stop(run.id)
    trainee.services.runs.wait(run.id)
    datasets.delete("cat")
    assert not own.exists()
