"""What killed processes left behind is removed; what living ones work on is not."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.services.store.test_store import put, state
from train_embedding.embeddings.storage import machine, temporary_key
from train_embedding.services.library.library import Library
from train_embedding.services.store import leftovers
from train_embedding.services.store.leftovers import is_left_behind, sweep, sweep_runs
from train_embedding.testing import FakeHost

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there every process counts as running")


@pytest.fixture(scope="module")
def dead() -> int:
    """The number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    return process.pid


def made(path: Path, age: float = 0.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"half")
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_whose_a_temporary_file_is(tmp_path: Path, dead: int) -> None:
    here, old = machine(), leftovers.SAFE_SECONDS + 10
    assert is_left_behind(made(tmp_path / f".sword.{dead}-01234567-{here}.tmp"))
    assert is_left_behind(made(tmp_path / f".{dead}-01234567-{here}-3.tmp"))
    assert not is_left_behind(made(tmp_path / f".sword.{os.getpid()}-01234567-{here}.tmp"))
    assert not is_left_behind(made(tmp_path / f".sword.{dead}-01234567-abcdef.tmp")), "another machine's"
    assert not is_left_behind(made(tmp_path / f".sword.{dead}-01234567.tmp")), "an earlier version's"
    for name in (f".sword.{dead}-01234567-abcdef.tmp", f".sword.{dead}-01234567.tmp", f".{dead}-01234567-1.tmp"):
        assert is_left_behind(made(tmp_path / name, old))
    for name in ("sword.tmp", f"sword.{dead}-01234567-{here}.tmp", f".{dead}-01234567-{here}-3.old.tmp", ".sword.pt", ".x.tmp"):
        assert not is_left_behind(made(tmp_path / name, old)), name


def test_the_names_that_are_given_are_those_that_are_looked_for(tmp_path: Path) -> None:
    path = made(tmp_path / f".sword.v2.{temporary_key()}.tmp")
    assert not is_left_behind(path)
    os.utime(path, (0, 0))
    sweep(tmp_path)
    assert not path.exists()


def test_the_next_change_sweeps(fake_host: FakeHost, dead: int) -> None:
    put(fake_host, "sub/sword.pt")
    key, root, trash = f"{dead}-01234567-{machine()}", fake_host.info().embeddings_folder, Library(fake_host).trash_folder
    lost = [
        made(root / "sub" / f".sword.{key}.tmp"),
        made(root / f".{key}-0.tmp"),
        made(trash / "sword.20261122-143000" / "sub" / f".{key}-1.tmp"),
        made(trash / ".emptied-axe.20261122-143000" / "axe.pt"),
    ]
    mine = made(root / f".sword.{temporary_key()}.tmp")
    kept = made(trash / "bow.20261122-143000" / "bow.pt")
    before = set(state(fake_host))
    library = Library(fake_host)
    assert len(library.list()) == 1
    assert all(path.exists() for path in lost), "looking changes nothing"
    library.set_notes("sword", {"notes": "mine"})
    assert not [path for path in lost if path.exists()]
    assert before - set(state(fake_host)) == {path.relative_to(root).as_posix() for path in lost[:2]}
    assert mine.exists()
    assert kept.exists()
    assert sorted(path.name for path in trash.iterdir()) == ["bow.20261122-143000"]


def test_runs_that_never_began(tmp_path: Path, dead: int) -> None:
    key = f"{dead}-01234567-{machine()}"
    made(tmp_path / "20261122-143000-001" / f".state.{key}.tmp")
    (tmp_path / "20261122-143000-002-2").mkdir()
    (tmp_path / "20261122-143000-003").mkdir()
    os.utime(tmp_path / "20261122-143000-003", (0, 0))
    made(tmp_path / "20261122-143000-004" / "state.json")
    made(tmp_path / "20261122-143000-004" / "previews" / f".0000002.{key}.tmp")
    made(tmp_path / "20261122-143000-005" / "sword.pt")
    (tmp_path / "mine").mkdir()
    os.utime(tmp_path / "mine", (0, 0))
    sweep_runs(tmp_path)
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == [
        "20261122-143000-002-2",
        "20261122-143000-004",
        "20261122-143000-004/previews",
        "20261122-143000-004/state.json",
        "20261122-143000-005",
        "20261122-143000-005/sword.pt",
        "mine",
    ]
    sweep_runs(tmp_path / "nothing")
