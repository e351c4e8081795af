"""Folders that are missing, closed, full or read-only, and what killed programs left in them."""

from __future__ import annotations

import errno
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from train_embedding.embeddings.storage import machine, storage_failed
from train_embedding.engine.config.spec import TrainingSpec
from train_embedding.services.diagnosis import folders
from train_embedding.services.diagnosis.folders import folder_check, leftover_checks
from train_embedding.services.diagnosis.report import Check
from train_embedding.services.run_records import RunState
from train_embedding.services.store.locks import TrainingLocks

OTHER = "Choose another with --data."


def check(folder: Path) -> Check:
    return folder_check("embeddings", folder, OTHER)


def refuse(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def write_new(path: Path, _data: bytes, meant_for: Path) -> None:
        error = OSError(number, os.strerror(number), str(path))
        raise storage_failed(meant_for, error) from error

    monkeypatch.setattr(folders, "write_new", write_new)


def test_a_good_folder_is_left_as_it_was(tmp_path: Path) -> None:
    found = check(tmp_path)
    assert found.level == "ok"
    assert str(tmp_path) in found.value
    assert "free" in found.value
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_does_not_exist_yet_is_fine(tmp_path: Path) -> None:
    found = check(tmp_path / "a" / "b")
    assert found.level == "ok"
    assert "does not exist yet" in found.value
    assert list(tmp_path.iterdir()) == []


def test_a_file_or_a_dangling_link_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert (check(tmp_path / "file").level, check(tmp_path / "file").problem) == ("error", "It is not a folder.")
    assert check(tmp_path / "file" / "below").level == "error"
    assert "link" in check(tmp_path / "link").problem


def test_a_folder_that_may_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, errno.EACCES)
    found = check(tmp_path)
    assert (found.level, found.problem) == ("error", "Train Embedding has no permission to write to it.")
    assert found.advice == f"Change its permissions. {OTHER}"


def test_a_full_disk_and_a_read_only_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, errno.ENOSPC)
    assert (check(tmp_path).level, check(tmp_path).problem) == ("error", "The disk is full.")
    refuse(monkeypatch, errno.EROFS)
    assert "read-only" in check(tmp_path).problem
    refuse(monkeypatch, errno.EIO)
    assert os.strerror(errno.EIO) in check(tmp_path).problem


def test_little_space_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage._replace(free=10 * 2**20))
    found = check(tmp_path)
    assert found.level == "warning"
    assert "10 MiB free" in found.value


def test_file_systems_that_ignore_case_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_new = folders.write_new

    def write_both(path: Path, data: bytes, meant_for: Path) -> None:
        write_new(path, data, meant_for)
        write_new(path.with_name(path.name.swapcase()), data, meant_for)

    assert "case" not in check(tmp_path).value
    monkeypatch.setattr(folders, "write_new", write_both)
    assert "ignores upper and lower case" in check(tmp_path).value


def leftovers(data: Path) -> dict[str, Check]:
    return {found.name: found for found in leftover_checks(data / "embeddings", data / "runs")}


def test_nothing_is_left_in_a_new_folder(tmp_path: Path) -> None:
    assert leftovers(tmp_path) == {}


def test_interrupted_changes_and_temporary_files(tmp_path: Path) -> None:
    for name in ("embeddings", "library", "runs"):
        (tmp_path / name).mkdir()
    (tmp_path / "embeddings" / f".cat.{2**22 + 7}-0123abcd-{machine()}.tmp").touch()
    (tmp_path / "embeddings" / f".dog.{os.getpid()}-0123abcd-{machine()}.tmp").touch()
    (tmp_path / "library" / "change.json").touch()
    found = leftovers(tmp_path)
    assert found["leftovers"].value.startswith("1 in ")
    assert found["change"].level == "note"
    (tmp_path / "library" / "change.json").rename(tmp_path / "library" / "change.damaged")
    assert leftovers(tmp_path)["change"].level == "warning"


def test_interrupted_runs_are_counted_and_running_ones_are_not(tmp_path: Path) -> None:
    for run_id, embedding in (("20260101-000000-000", "cat"), ("20260102-000000-000", "dog")):
        folder = tmp_path / "runs" / run_id
        folder.mkdir(parents=True)
        RunState(run_id, embedding, folder, TrainingSpec(embedding, "/images"), status="running").save()
    done = RunState("20260103-000000-000", "cow", tmp_path / "runs" / "20260103-000000-000", TrainingSpec("cow", "/images"))
    done.folder.mkdir()
    replace(done, status="finished").save()
    (tmp_path / "runs" / "damaged").mkdir()
    (tmp_path / "runs" / "damaged" / "state.json").write_text("{")
    with TrainingLocks(tmp_path / "library" / "held").hold("dog"):
        found = leftovers(tmp_path)["runs"]
    assert found.value == "1 interrupted, the last one 20260101-000000-000"
    assert "train-embedding resume" in found.advice
