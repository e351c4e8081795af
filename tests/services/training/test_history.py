"""The history of runs: what is listed and found, notes, and the trash."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.run_folders import FIRST, stored_preview, stored_run
from train_embedding.errors import Conflict, InvalidInput, NotFound
from train_embedding.services import Services
from train_embedding.services.training import history
from train_embedding.services.training.history import MAX_NOTE, NOTE_FILE
from train_embedding.services.training.runs import Runs
from train_embedding.testing import FakeHost

SECOND, THIRD = "20261102-100000-000", "20261103-100000-000"


@pytest.fixture
def runs(fake_host: FakeHost) -> Runs:
    return Services(fake_host).runs


def ids(entries: list[history.RunEntry]) -> list[str]:
    return [entry.state.id for entry in entries]


def test_an_entry_says_what_a_run_was(fake_host: FakeHost, runs: Runs) -> None:
    spec = {"preset": "Fast", "batch_size": 7, "gradient_accumulation_steps": 2, "seed": 5}
    state = stored_run(fake_host, spec=spec, checkpoint="model.safetensors")
    stored_preview(state, 20)
    newest = stored_preview(runs.get(FIRST), 40)
    entry = runs.entry(FIRST)
    assert entry.changed == {"batch_size": 7, "gradient_accumulation_steps": 2, "seed": 5}
    assert entry.samples == 40 * 7 * 2
    assert entry.started is not None
    assert entry.started.isoformat() == "2026-11-01T10:00:00"
    assert entry.preview == newest
    assert (entry.state.checkpoint, entry.note) == ("model.safetensors", "")


def test_the_newest_is_first_and_each_word_of_a_search_must_occur(fake_host: FakeHost, runs: Runs) -> None:
    stored_run(fake_host, FIRST, {"embedding": "red-cat"}, checkpoint="Deliberate")
    stored_run(fake_host, SECOND, {"dataset": "/images/Teddy", "batch_size": 7}, status="stopped")
    stored_run(fake_host, THIRD)
    runs.set_note(THIRD, "the best Überraschung")
    assert ids(runs.history()) == [THIRD, SECOND, FIRST]
    found = {
        "RED": [FIRST], "deliberate": [FIRST], "teddy": [SECOND], "batch_size 7": [SECOND], "stopped": [SECOND],
        "BEST über": [THIRD], "cat": [THIRD, SECOND, FIRST], "cat best": [THIRD], "red best": [], "20261102": [SECOND],
    }  # fmt: skip
    assert {search: ids(runs.history(search)) for search in found} == found


def test_each_file_is_read_once_and_again_after_it_changed(
    fake_host: FakeHost, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    load = history.load_state
    monkeypatch.setattr(history, "load_state", lambda folder: read.append(folder.name) or load(folder))
    state = stored_run(fake_host, FIRST)
    stored_run(fake_host, SECOND)
    for _ in range(3):
        assert len(runs.history()) == 2
    assert sorted(read) == [FIRST, SECOND]
    replace(state, step=7, status="stopped").save()
    assert runs.entry(FIRST).state.step == 7
    assert sorted(read) == [FIRST, FIRST, SECOND]
    shutil.rmtree(state.folder)
    assert ids(runs.history()) == [SECOND]


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"status": 1}', "[" * 100_000, "\ufffe", "{}", json.dumps({"step": 1e999, "spec": {}})],
    ids=["empty", "list", "cut off", "wrong kinds", "deep", "odd", "bare", "infinite"],
)
def test_a_broken_run_breaks_no_list(fake_host: FakeHost, runs: Runs, text: str) -> None:
    stored_run(fake_host, FIRST)
    broken = stored_run(fake_host, SECOND)
    (broken.folder / "state.json").write_text(text)
    assert ids(runs.history()) == [FIRST]
    assert ids(Services(fake_host).runs.history()) == [FIRST]


def test_an_enormous_file_is_left_out(fake_host: FakeHost, runs: Runs) -> None:
    broken = stored_run(fake_host, FIRST)
    with (broken.folder / "state.json").open("wb") as file:
        file.truncate(10 * 2**30)  # sparse
    assert runs.history() == []


def test_the_version_changes_with_the_history(fake_host: FakeHost, runs: Runs) -> None:
    versions = [runs.history_version()]
    state = stored_run(fake_host)
    versions.append(runs.history_version())
    replace(state, step=3).save()
    versions.append(runs.history_version())
    runs.set_note(FIRST, "good")
    versions.append(runs.history_version())
    runs.delete(FIRST)
    versions.append(runs.history_version())
    assert len(set(versions)) == len(versions)
    assert runs.history_version() == versions[-1]


def test_a_note_is_kept_changed_and_removed(fake_host: FakeHost, runs: Runs) -> None:
    state = stored_run(fake_host)
    assert runs.set_note(FIRST, "  blue is better 蓝\n").note == "blue is better 蓝"
    assert Services(fake_host).runs.entry(FIRST).note == "blue is better 蓝"
    assert runs.set_note(FIRST, " ").note == ""
    assert not (state.folder / NOTE_FILE).exists()
    with pytest.raises(InvalidInput, match="The note has 10001 characters"):
        runs.set_note(FIRST, "x" * (MAX_NOTE + 1))
    with pytest.raises(NotFound, match='There is no run "x"'):
        runs.set_note("x", "text")


def test_a_deleted_run_is_in_the_trash_with_all_of_its_files_until_it_is_restored(fake_host: FakeHost, runs: Runs) -> None:
    stored_preview(stored_run(fake_host))
    runs.set_note(FIRST, "keep")
    folder = fake_host.info().runs_folder / FIRST
    before = {path.relative_to(folder): path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    trash_id = runs.delete(FIRST)
    assert not folder.exists()
    assert runs.history() == []
    assert [(entry.state.id, entry.note) for entry in runs.trashed()] == [(FIRST, "keep")]
    with pytest.raises(NotFound):
        runs.delete(FIRST)
    assert runs.restore(trash_id).note == "keep"
    assert {path.relative_to(folder): path.stat().st_size for path in folder.rglob("*") if path.is_file()} == before
    assert runs.trashed() == []
    with pytest.raises(NotFound, match="in the trash"):
        runs.restore(trash_id)


def test_a_run_is_not_restored_over_another(fake_host: FakeHost, runs: Runs) -> None:
    stored_run(fake_host)
    first = runs.delete(FIRST)
    stored_run(fake_host)
    with pytest.raises(Conflict, match="already"):
        runs.restore(first)
    second = runs.delete(FIRST)
    assert second == f"{FIRST}-2"
    assert len(runs.trashed()) == 2


@pytest.mark.parametrize("trash_id", ["..", "../runs", ".", "", "a/b"])
def test_only_what_is_in_the_trash_is_restored(fake_host: FakeHost, runs: Runs, trash_id: str) -> None:
    stored_run(fake_host)
    with pytest.raises(NotFound):
        runs.restore(trash_id)
    assert ids(runs.history()) == [FIRST]


def test_emptying_the_trash_deletes_runs_too(fake_host: FakeHost, runs: Runs) -> None:
    stored_run(fake_host)
    runs.delete(FIRST)
    library = Services(fake_host).library
    assert library.trashed() == []
    assert library.empty_trash() == 1
    assert runs.trashed() == []
    assert not any(path.name.startswith(FIRST) for path in library.trash_folder.rglob("*"))


def test_a_run_that_another_process_works_on_is_not_deleted(fake_host: FakeHost, runs: Runs) -> None:
    stored_run(fake_host, FIRST, status="running")
    stored_run(fake_host, SECOND)
    with Services(fake_host).library.lock_for_training("my-cat"):
        with pytest.raises(Conflict, match="is still active"):
            runs.delete(FIRST)
        runs.delete(SECOND)
    assert ids(runs.history()) == [FIRST]
    runs.delete(FIRST)
    assert runs.history() == []


def test_a_moved_data_folder_keeps_its_previews(fake_host: FakeHost, tmp_path: Path) -> None:
    stored_preview(stored_run(fake_host))
    moved = tmp_path / "moved"
    shutil.copytree(fake_host.info().runs_folder.parent, moved / "train_embedding")
    shutil.rmtree(fake_host.info().runs_folder)
    entry = Services(FakeHost(moved)).runs.entry(FIRST)
    assert entry.preview is not None
    assert entry.preview.is_file()
