"""Changes of several files: all or nothing, after an error and after every possible end of the process."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from train_embedding.errors import Conflict, StorageFailed
from train_embedding.services.library.library import Library
from train_embedding.services.store.store import OWN_FOLDER
from train_embedding.services.store.transaction import JOURNAL, Change, Journal
from train_embedding.testing import FakeHost

OLD = {"a.pt": b"embedding", "a.json": b"notes", "gone.txt": b"gone", "kept.pt": b"before", "kept.json": b"old"}
NEW = {
    "b.pt": b"embedding", "b.json": b"notes", "sub/copy.json": b"notes", "new.txt": b"new", "kept.pt": b"after",
    "kept.json": b"newer",
}  # fmt: skip


class Killed(BaseException):
    """The end of the process, at the call in which it is raised."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return put(tmp_path / "embeddings")


def put(folder: Path) -> Path:
    folder.mkdir()
    for name, data in OLD.items():
        (folder / name).write_bytes(data)
    return folder


def the_change(folder: Path) -> Change:
    return Change(
        writes=((folder / "new.txt", b"new"), (folder / "kept.json", b"newer"), (folder / "kept.pt", b"after")),
        copies=((folder / "a.json", folder / "sub" / "copy.json"),),
        moves=((folder / "a.pt", folder / "b.pt"), (folder / "a.json", folder / "b.json")),
        removes=(folder / "gone.txt",),
        replaces=(folder / "kept.pt", folder / "kept.json"),
    )


def carry_out(folder: Path, change: Change | None = None) -> None:
    journal = Journal(folder.parent / "own", [folder.parent])
    with journal.exclusive():
        journal.commit(change or the_change(folder))


def state(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_everything_happens(folder: Path) -> None:
    carry_out(folder)
    assert state(folder) == NEW
    assert not (folder.parent / "own" / JOURNAL).exists()


@pytest.mark.parametrize("call", ["open", "replace", "unlink", "fsync"])
def test_a_kill_at_every_call_leaves_the_old_or_the_new_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """Nothing that runs after the kill may tidy up: the process is gone. `recover` is the next process."""
    seen = set[str]()
    number = 0
    for number in range(1, 1000):
        folder = put(tmp_path / str(number))
        done = killed_at(monkeypatch, call, number, lambda folder=folder: carry_out(folder))
        Journal(tmp_path / "own", [tmp_path]).recover()
        after = state(folder)
        assert after in (OLD, NEW), (call, number, after)
        assert not (tmp_path / "own" / JOURNAL).exists()
        seen.add("old" if after == OLD else "new")
        if done:
            break
    assert number > 3
    assert "new" in seen


def killed_at(monkeypatch: pytest.MonkeyPatch, call: str, number: int, action: Callable[[], None]) -> bool:
    """Whether the action was through before its `number`-th call; afterwards no call of the process does anything."""
    calls, dead = 0, False
    real = {name: getattr(os, name) for name in ("open", "replace", "unlink", "fsync", "rmdir", "mkdir")}

    def patched(name: str) -> Callable[..., Any]:
        def stand_in(*arguments: Any, **options: Any) -> Any:
            nonlocal calls, dead
            calls += name == call
            dead = dead or (name == call and calls == number)
            if dead:
                raise Killed
            return real[name](*arguments, **options)

        return stand_in

    with monkeypatch.context() as patch:
        for name in real:
            patch.setattr(os, name, patched(name))
        try:
            action()
        except Killed:
            return False
        return True


@pytest.mark.parametrize("call", ["fsync", "replace", "unlink"])
def test_an_error_at_every_call_takes_everything_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """Until the new file has taken the place of the old one; from there on the change cannot go back."""
    number = 0
    for number in range(1, 1000):
        folder = put(tmp_path / str(number))
        problem, calls = failing_at(monkeypatch, call, number, lambda folder=folder: carry_out(folder))
        Journal(tmp_path / "own", [tmp_path]).recover()
        after = state(folder)
        assert after in (OLD, NEW) or after == {**NEW, "gone.txt": b"gone"}, (call, number, after)
        assert "disk is full" in problem or after == NEW
        assert JOURNAL not in problem
        assert not list(tmp_path.rglob("*.tmp"))
        if calls < number:
            assert problem == ""
            break
    assert number > 2


def failing_at(monkeypatch: pytest.MonkeyPatch, call: str, number: int, action: Callable[[], None]) -> tuple[str, int]:
    """The sentence, or none, of an action whose `number`-th call finds the disk full; and how many calls there were."""
    calls, real = 0, getattr(os, call)

    def full(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        try:
            action()
        except StorageFailed as error:
            return error.message, calls
        return "", calls


def test_nothing_is_overwritten(folder: Path) -> None:
    for change in (
        Change(writes=((folder / "a.pt", b"x"),)),
        Change(copies=((folder / "a.pt", folder / "a.json"),)),
        Change(moves=((folder / "a.pt", folder / "a.json"),)),
    ):
        with pytest.raises(Conflict, match="already exists"):
            carry_out(folder, change)
    assert state(folder) == OLD


def test_what_is_not_there_cannot_be_moved(folder: Path) -> None:
    with pytest.raises(StorageFailed, match=r"nothing\.pt"):
        carry_out(folder, Change(moves=((folder / "a.pt", folder / "b.pt"), (folder / "nothing.pt", folder / "c.pt"))))
    assert state(folder) == OLD


def test_what_a_person_did_meanwhile_is_respected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the kill and the next start: a new file under the name that was to be removed, and one in the way of a copy."""
    folder = put(tmp_path / "embeddings")
    assert not killed_at(monkeypatch, "replace", 4, lambda: carry_out(folder))
    assert json.loads((tmp_path / "own" / JOURNAL).read_bytes())["committed"]
    (folder / "gone.txt").unlink()
    (folder / "gone.txt").write_bytes(b"another")
    (folder / "sub" / "copy.json").write_bytes(b"mine")
    Journal(tmp_path / "own", [tmp_path]).recover()
    after = state(folder)
    assert after["gone.txt"] == b"another"
    assert after["sub/copy.json"] == b"mine"
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize("text", ["", "nothing", "[]", "{}", '{"committed": true, "staged": [[1]], "moves": [], "removes": []}'])
def test_a_damaged_journal_stops_nobody(folder: Path, text: str) -> None:
    own = folder.parent / "own"
    own.mkdir()
    (own / JOURNAL).write_text(text)
    carry_out(folder)
    assert state(folder) == NEW


def test_a_change_under_way_is_left_alone(folder: Path) -> None:
    journal = Journal(folder.parent / "own", [folder.parent])
    with journal.exclusive():
        (folder.parent / "own" / JOURNAL).write_text("[]")
        Journal(folder.parent / "own", [folder.parent]).recover()
        assert (folder.parent / "own" / JOURNAL).exists()


def test_names_that_are_no_text(folder: Path) -> None:
    """File names on Linux are bytes; those that are no UTF-8 must survive the journal."""
    odd = folder / os.fsdecode(b"\xff\xfe.pt")
    carry_out(folder, Change(moves=((folder / "a.pt", odd),), copies=((folder / "a.json", folder / "剣 ünï.json"),)))
    assert odd.read_bytes() == b"embedding"


def tampered_journal(target: Path, outside: Path, kind: str) -> dict[str, object]:
    status = outside.lstat()
    stamp = [status.st_mtime_ns, status.st_size, status.st_ino]
    plan: dict[str, object] = {"committed": kind != "staged, taken back", "staged": [], "moves": [], "removes": []}
    if kind == "removes":
        plan["removes"] = [[str(outside), stamp]]
    elif kind == "moves":
        plan["moves"] = [[str(outside), str(target), stamp]]
    elif kind == "moved to":
        status = target.with_name("a.pt").lstat()
        new = [status.st_mtime_ns, status.st_size, status.st_ino]
        plan["moves"] = [[str(target.with_name("a.pt")), str(outside.with_name("startup.pt")), new]]
    else:  # a temporary file that takes a target's place, or that is taken away
        plan["staged"] = [[str(outside), str(target), True]]
    return plan


@pytest.mark.parametrize("how", ["plain", "by dots", "by a link"])
@pytest.mark.parametrize("kind", ["removes", "moves", "moved to", "staged", "staged, taken back"])
def test_a_journal_that_names_other_places_is_set_aside(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str, how: str
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    outside = elsewhere / "letter.txt"
    outside.write_bytes(b"dear")
    folder, own = put(tmp_path / "embeddings"), tmp_path / "own"
    own.mkdir()
    if how == "by dots":
        outside = folder / ".." / "elsewhere" / "letter.txt"
    if how == "by a link":
        (folder / "link").symlink_to(elsewhere, target_is_directory=True)
        outside = folder / "link" / "letter.txt"
    (own / JOURNAL).write_text(json.dumps(tampered_journal(folder / "new.pt", outside, kind)))
    before = state(folder)
    Journal(own, [folder, own]).recover()
    assert state(folder) == before
    assert [path.name for path in elsewhere.iterdir()] == ["letter.txt"]
    assert not (own / JOURNAL).exists()
    assert (own / JOURNAL).with_suffix(".damaged").exists()
    assert "is outside the folders of this library" in caplog.text


def test_the_library_completes_changes_of_its_own_folders_only(fake_host: FakeHost, tmp_path: Path) -> None:
    outside = tmp_path / "letter.txt"
    outside.write_bytes(b"dear")
    embeddings = fake_host.info().embeddings_folder
    own = fake_host.info().runs_folder.parent / OWN_FOLDER
    own.mkdir(parents=True, exist_ok=True)
    (own / JOURNAL).write_text(json.dumps(tampered_journal(embeddings / "new.pt", outside, "removes")))
    Library(fake_host).list()
    assert outside.read_bytes() == b"dear"
    assert not (own / JOURNAL).exists()
