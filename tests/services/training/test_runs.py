"""Runs: what is checked at once, one at a time, stopping, and lists that survive the process and damaged files."""

from __future__ import annotations

import json
import shutil
import threading
from dataclasses import replace
from datetime import datetime, tzinfo
from pathlib import Path

import pytest
import torch

from tests.checkpoints import pictures
from tests.services.test_run_records import CORRUPT
from tests.training import NAME, Trainee, WatchedHost, trainee
from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.formats import write_embedding
from train_embedding.errors import (
    Conflict,
    HostFailed,
    NotAllowed,
    NotFound,
    NothingToTrainOn,
    TrainEmbeddingError,
    UnreadableFile,
)
from train_embedding.hosts.base import OTHER_FAMILY, Txt2ImgRequest
from train_embedding.messages import verbatim
from train_embedding.services import Services
from train_embedding.services.run_records import RunState

__all__ = ["pictures", "trainee"]


def refused(trainee: Trainee, kind: type[TrainEmbeddingError], sentence: str, **values: object) -> TrainEmbeddingError:
    """Starting must fail at once and leave no trace."""
    with pytest.raises(kind, match=sentence) as caught:
        trainee.start(**values)
    assert trainee.services.runs.list() == []
    assert trainee.services.runs.current() is None
    assert list(trainee.host.info().runs_folder.iterdir()) == []
    assert trainee.host.jobs == []
    return caught.value


def test_a_run_from_start_to_end(trainee: Trainee) -> None:
    runs = trainee.services.runs
    assert runs.current() is None
    with trainee.host.exclusive("something else"):
        started = trainee.start(steps=3)
        assert (started.status, started.active, started.step, started.steps) == ("queued", True, 0, 3)
        assert runs.current() == runs.get(started.id) == started
        assert runs.wait(started.id, 0.05) == started
    ended = trainee.wait(started)
    assert (ended.status, ended.active, ended.step, ended.error) == ("finished", False, 3, "")
    assert ended.spec == replace(trainee.spec(steps=3), dataset=str(trainee.pictures.resolve()))
    assert runs.current() == runs.get(ended.id) == ended
    assert runs.list() == [ended]
    assert runs.stop(ended.id) == ended
    assert runs.wait(ended.id) == ended


def test_a_run_in_another_unicode_form_and_a_folder_in_quotes(trainee: Trainee) -> None:
    trainee.services.library.rename(NAME, "cafe\u0301")
    ended = trainee.run(embedding="caf\u00e9", dataset=f'"{trainee.pictures}"', steps=1)
    assert (ended.status, ended.embedding, ended.error) == ("finished", "cafe\u0301", "")
    (entry,) = trainee.services.library.list()
    assert (entry.name, entry.step) == ("cafe\u0301", 11)


def test_no_such_run(trainee: Trainee) -> None:
    for act in (trainee.services.runs.get, trainee.services.runs.stop, trainee.services.runs.wait):
        with pytest.raises(NotFound, match='There is no run "x"'):
            act("x")


def test_one_at_a_time(trainee: Trainee) -> None:
    with trainee.host.exclusive("something else"):
        first = trainee.start()
        with pytest.raises(Conflict, match='"sword" is being trained'):
            trainee.start()
        trainee.services.runs.stop(first.id)
        with pytest.raises(Conflict, match="Wait until the run ends, stop it, or add the new training to the queue"):
            trainee.start()
    trainee.wait(first)
    second = trainee.run()
    assert second.status == "finished"
    assert [state.id for state in trainee.services.runs.list()] == [second.id, first.id]
    assert trainee.services.runs.current() == second


def test_many_starts_at_once_make_one_run(trainee: Trainee) -> None:
    answers: list[RunState | Conflict] = []

    def start() -> None:
        try:
            answers.append(trainee.start())
        except Conflict as error:
            answers.append(error)

    with trainee.host.exclusive("something else"):
        threads = [threading.Thread(target=start) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    (started,) = (answer for answer in answers if isinstance(answer, RunState))
    assert len(answers) == 8
    assert trainee.wait(started).status == "finished"


def test_an_embedding_that_is_not_there(trainee: Trainee) -> None:
    refused(trainee, NotFound, 'There is no embedding "shield"', embedding="shield")


def test_an_embedding_that_cannot_be_read(trainee: Trainee) -> None:
    trainee.file.write_bytes(b"garbage")
    refused(trainee, UnreadableFile, r'"sword\.pt" is not an embedding')


def test_an_embedding_of_another_width(trainee: Trainee) -> None:
    write_embedding(Embedding(NAME, {"clip_l": torch.ones(1, 768)}), trainee.file)
    error = refused(trainee, Conflict, '"sword" is for SD1; the loaded checkpoint is a model of width 64')
    assert error.hint == "Load a checkpoint of the same model family as the embedding."


def test_an_embedding_of_more_vectors_than_a_prompt_takes(trainee: Trainee) -> None:
    write_embedding(Embedding(NAME, {"clip_l": torch.ones(76, 64)}), trainee.file)
    refused(trainee, Conflict, '"sword" has 76 vectors; a prompt takes at most 75')


def test_no_checkpoint(trainee: Trainee) -> None:
    trainee.host.widths, trainee.host.the_model = {}, None
    refused(trainee, HostFailed, "No checkpoint is loaded")


def test_a_checkpoint_that_is_not_loaded_yet_is_loaded(trainee: Trainee, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a WebUI that has just started."""
    widths, trainee.host.widths = trainee.host.widths, {}
    load = trainee.host.token_embeddings

    def load_first(text: str, count: int | None = None) -> dict[str, torch.Tensor]:
        trainee.host.widths = widths
        return load(text, count)

    monkeypatch.setattr(trainee.host, "token_embeddings", load_first)
    assert trainee.run(steps=1).status == "finished"


def test_a_host_that_cannot_train(trainee: Trainee) -> None:
    trainee.host.why_no_training = verbatim("Its weights are quantised.")
    refused(trainee, HostFailed, "Its weights are quantised")


def test_a_checkpoint_of_another_family(trainee: Trainee) -> None:
    trainee.host.widths, trainee.host.the_model, trainee.host.why_no_training = {}, None, OTHER_FAMILY
    refused(trainee, HostFailed, "the loaded one belongs to another family")


def test_folders_that_cannot_be_used(trainee: Trainee, tmp_path: Path) -> None:
    refused(trainee, NotFound, "does not exist", dataset=str(tmp_path / "none"))
    (tmp_path / "empty").mkdir()
    refused(trainee, NothingToTrainOn, "There are no images in", dataset=str(tmp_path / "empty"))
    (tmp_path / "empty" / "a.png").touch()
    refused(trainee, NothingToTrainOn, 'skipped. "a.png": It is empty', dataset=str(tmp_path / "empty"))


def test_a_shared_server_trains_in_its_own_folders_only(trainee: Trainee, tmp_path: Path) -> None:
    host = WatchedHost(tmp_path / "host", trainee.host.widths, trainee.host.the_model, allowed_folders=(tmp_path / "host",))
    shared = Trainee(host, Services(host), trainee.pictures)
    refused(shared, NotAllowed, "is outside the folders that are allowed")
    inside = tmp_path / "host" / "pictures"
    shutil.copytree(trainee.pictures, inside)
    (inside / "way out.png").symlink_to(trainee.pictures / "1 red.png")
    ended = shared.run(dataset=str(inside))
    assert ended.status == "finished"
    (note,) = ended.notes
    assert '"way out.png" was skipped' in note


def test_no_room_for_the_runs_folder(trainee: Trainee) -> None:
    folder = trainee.host.info().runs_folder
    folder.rmdir()
    folder.touch()
    with pytest.raises(TrainEmbeddingError, match="could not be written"):
        trainee.start()
    assert trainee.services.runs.current() is None
    folder.unlink()
    assert trainee.run().status == "finished"


def test_two_runs_in_one_millisecond(trainee: Trainee, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stopped(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Stopped:
            return cls(2026, 11, 29, 12, 0, 0, 123456, tz)

    monkeypatch.setattr("train_embedding.services.training.runs.datetime", Stopped)
    ids = [trainee.run(steps=1).id for _ in range(3)]
    assert ids == ["20261129-120000-123", "20261129-120000-123-2", "20261129-120000-123-3"]
    assert [state.id for state in trainee.fresh_runs().list()] == ids[::-1]


def test_stopped_in_the_middle(trainee: Trainee) -> None:
    answers: list[RunState] = []

    def stop(progress: object) -> None:
        if len(trainee.host.reports) == 2:
            answers.append(trainee.services.runs.stop(trainee.services.runs.list()[0].id))

    trainee.host.on_report = stop
    ended = trainee.run(steps=1000)
    assert [(state.status, state.active) for state in answers] == [("stopping", True)]
    assert (ended.status, ended.step, ended.steps, ended.eta_seconds, ended.error) == ("stopped", 2, 1000, None, "")
    assert trainee.embedding().step == 12
    assert ended.files == (trainee.file,)
    assert ended.notes == ()


def test_the_file_stays_while_it_is_trained(trainee: Trainee) -> None:
    refused: list[str] = []
    library = trainee.services.library

    def tidy_up(_progress: object) -> None:
        for action in (lambda: library.rename("sword", "new"), lambda: library.delete("sword")):
            with pytest.raises(Conflict, match="is being trained") as caught:
                action()
            refused.append(caught.value.message)

    trainee.host.on_report = tidy_up
    ended = trainee.run()
    assert (ended.status, ended.error) == ("finished", "")
    assert refused
    assert library.rename("sword", "new").step == ended.step + 10


def test_a_run_that_cannot_begin_holds_nothing(trainee: Trainee) -> None:
    with trainee.services.library.lock_for_training("sword"), pytest.raises(Conflict, match="is being trained"):
        trainee.start()
    assert trainee.run().status == "finished"


def test_stopped_before_the_first_step(trainee: Trainee) -> None:
    trainee.host.on_txt2img = lambda _request: trainee.services.runs.stop(trainee.services.runs.list()[0].id)
    before = trainee.file.read_bytes()
    ended = trainee.run(preview_every=1)
    assert (ended.status, ended.step) == ("stopped", 0)
    assert ended.notes == ("Stopped before the first step; the embedding is unchanged.",)
    assert (ended.files, ended.previews) == ((), ())
    assert trainee.file.read_bytes() == before
    assert not trainee.services.library.trash_folder.exists()


def test_what_is_drawn_and_said_of_a_run_that_goes_on_before_its_first_step(trainee: Trainee) -> None:
    seen: list[tuple[str, int | None]] = []

    def draw(request: Txt2ImgRequest) -> None:
        seen.extend((one.name, one.step) for one in request.embeddings)
        if len(seen) == 1:
            trainee.host.press_interrupt()

    trainee.host.on_txt2img = draw
    stopped = trainee.run(steps=2, preview_every=2, preview_prompt="a [name]")
    assert (stopped.status, stopped.step) == ("stopped", 0)
    ended = trainee.wait(trainee.services.runs.resume(stopped.id))
    assert (ended.status, ended.notes) == ("finished", ())
    assert seen == [("sword", 10), ("sword", 10), ("sword", 12)]


def test_stopped_while_it_waits_for_the_host(trainee: Trainee) -> None:
    trainee.host.the_model = None  # asking for it would fail
    with trainee.host.exclusive("something else"):
        started = trainee.start()
        assert trainee.services.runs.stop(started.id).status == "stopping"
    ended = trainee.wait(started)
    assert (ended.status, ended.step, ended.error) == ("stopped", 0, "")


def test_a_stop_after_the_last_step_is_no_stop(trainee: Trainee) -> None:
    def stop(progress: object) -> None:
        if len(trainee.host.reports) == 4:
            trainee.services.runs.stop(trainee.services.runs.list()[0].id)

    trainee.host.on_report = stop
    ended = trainee.run(steps=4)
    assert (ended.status, ended.step, ended.eta_seconds) == ("finished", 4, 0.0)


def test_the_hosts_own_interrupt(trainee: Trainee) -> None:
    trainee.host.on_report = lambda _progress: trainee.host.press_interrupt() if len(trainee.host.reports) == 3 else None
    ended = trainee.run(steps=1000)
    assert (ended.status, ended.step) == ("stopped", 3)
    assert trainee.embedding().step == 13
    trainee.host.on_report = lambda _progress: None
    assert trainee.run().status == "finished"


def test_runs_of_an_earlier_process(trainee: Trainee) -> None:
    ended = trainee.run()
    later = Services(trainee.host).runs
    assert later.list() == [ended]
    assert later.get(ended.id) == later.stop(ended.id) == later.wait(ended.id) == ended
    assert later.current() is later.latest() is None


def test_a_page_shows_the_run_that_ended_with_its_process_until_there_is_another(trainee: Trainee) -> None:
    earlier = trainee.run(steps=1)
    ended = trainee.run(steps=3)
    replace(ended, status="running", step=2).save()
    later = Trainee(trainee.host, Services(trainee.host), trainee.pictures)
    shown = later.services.runs.latest()
    assert shown is not None
    assert (shown.id, shown.status, shown.resumable) == (ended.id, "interrupted", True)
    assert later.wait(later.services.runs.resume(shown.id)).step == 3
    assert later.services.runs.latest() == later.services.runs.get(ended.id)
    assert earlier.id < ended.id
    with trainee.services.library.lock_for_training(NAME):
        replace(ended, status="running", step=2).save()
        assert Services(trainee.host).runs.latest() is None, "another process works on it"
    replace(ended, status="finished").save()
    assert Services(trainee.host).runs.latest() is None


def test_a_run_that_a_dead_process_left(trainee: Trainee) -> None:
    ended = trainee.run()
    replace(ended, status="running", step=2).save()
    later = Trainee(trainee.host, Services(trainee.host), trainee.pictures)
    (left,) = later.services.runs.list()
    assert (left.status, left.step, left.error) == ("interrupted", 2, "The program ended before the run did.")
    assert later.run().status == "finished"  # it is in nobody's way
    assert [state.status for state in later.services.runs.list()] == ["finished", "interrupted"]


def test_damaged_states_do_not_break_the_list(trainee: Trainee) -> None:
    ended = trainee.run()
    folder = trainee.host.info().runs_folder
    for number, content in enumerate(CORRUPT):
        (folder / f"damaged-{number}").mkdir()
        data = content if isinstance(content, bytes) else content.encode()
        (folder / f"damaged-{number}" / "state.json").write_bytes(data)
    (folder / "empty").mkdir()
    (folder / "folder" / "state.json").mkdir(parents=True)
    (folder / "settings.json").write_text("{}")
    assert trainee.services.runs.list() == Services(trainee.host).runs.list() == [ended]
    with pytest.raises(NotFound):
        trainee.services.runs.get("damaged-0")


def test_no_runs_folder(trainee: Trainee) -> None:
    trainee.host.info().runs_folder.rmdir()
    assert trainee.services.runs.list() == []
    assert trainee.run().status == "finished"


def test_the_state_file_can_be_read_at_any_moment(trainee: Trainee) -> None:
    started = trainee.start(steps=40, save_every=5)
    seen: set[str] = set()
    ended = threading.Event()

    def read() -> None:
        while not ended.is_set():
            seen.add(json.loads((started.folder / "state.json").read_text())["status"])

    reader = threading.Thread(target=read)
    reader.start()
    trainee.wait(started)
    ended.set()
    reader.join()
    assert seen <= {"queued", "preparing", "running", "finished"}
    assert "running" in seen
    assert json.loads((started.folder / "state.json").read_text()) == trainee.services.runs.get(started.id).to_json()
    assert [path.name for path in started.folder.iterdir() if path.name.startswith(".")] == []


def test_the_run_names_its_checkpoint_and_is_not_deleted_while_it_is_active(trainee: Trainee) -> None:
    runs = trainee.services.runs
    with trainee.host.exclusive("something else"):
        started = trainee.start(steps=1)
        with pytest.raises(Conflict, match="is still active"):
            runs.delete(started.id)
    ended = trainee.wait(started)
    assert ended.checkpoint == trainee.host.info().checkpoint_name
    vectors = trainee.file.read_bytes()
    runs.delete(ended.id)
    assert runs.list() == []
    assert runs.current() is None
    assert trainee.file.read_bytes() == vectors
