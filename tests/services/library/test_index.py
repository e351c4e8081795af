"""The index on the disk: trusted only as far as it goes, and never needed."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from train_embedding.services.library import index as module
from train_embedding.services.library.index import Index

ROOT = Path(__file__).parents[3]
ROWS = {"/a.pt": ("1 2 3 4", '{"a": 1}'), os.fsdecode(b"/\xff.pt"): ("5 6 7 8", "{}"), "/剣.pt": ("9", "{}")}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "own" / "index.sqlite"


def test_what_was_stored_is_loaded(file: Path) -> None:
    index = Index(file)
    assert index.load() == {}
    assert not file.exists()
    index.store(ROWS, [])
    assert Index(file).load() == ROWS
    index.store({"/a.pt": ("new", "[]")}, ["/剣.pt", "/never.pt"])
    assert Index(file).load() == {"/a.pt": ("new", "[]"), os.fsdecode(b"/\xff.pt"): ROWS[os.fsdecode(b"/\xff.pt")]}


@pytest.mark.parametrize("damage", ["garbage", "cut", "middle", "empty"])
def test_a_damaged_index_is_made_anew(file: Path, damage: str) -> None:
    Index(file).store({f"/{number}.pt": ("stamp" * 20, "{}") for number in range(2000)}, [])
    data = file.read_bytes()
    middle = len(data) // 2
    file.write_bytes(
        {
            "garbage": b"garbage" * 1000,
            "cut": data[: len(data) // 3],
            "middle": data[:4096] + b"\xff" * (middle - 4096) + data[middle:],
            "empty": b"",
        }[damage]
    )
    loaded = Index(file).load()
    assert set(loaded) <= {f"/{number}.pt" for number in range(2000)}
    for _ in range(2):  # what reading does not notice, writing may
        Index(file).store(ROWS, [])
    assert ROWS.items() <= Index(file).load().items()


def test_an_index_of_another_release_is_read_again(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Index(file).store(ROWS, [])
    monkeypatch.setattr(module, "LAYOUT", "another")
    assert Index(file).load() == {}
    Index(file).store({"/b.pt": ("1", "{}")}, [])
    assert Index(file).load() == {"/b.pt": ("1", "{}")}


def test_deleted_between_any_two_uses(file: Path) -> None:
    index = Index(file)
    for _ in range(3):
        index.store(ROWS, [])
        file.unlink()
        assert index.load() == {}
    index.store(ROWS, [])
    (file.parent / "index.sqlite-journal").write_bytes(b"left over")
    file.unlink()
    index.store(ROWS, [])
    assert index.load() == ROWS


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    Index(tmp_path / "file" / "index.sqlite").store(ROWS, [])
    assert Index(tmp_path / "file" / "index.sqlite").load() == {}


def test_a_full_or_read_only_disk(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def execute(self, *_: object) -> None:
            raise sqlite3.OperationalError("attempt to write a readonly database")

        def close(self) -> None:
            pass

    Index(file).store(ROWS, [])
    monkeypatch.setattr(sqlite3, "connect", lambda *_, **__: Broken())
    Index(file).store({"/b.pt": ("1", "{}")}, [])
    assert Index(file).load() == {}
    monkeypatch.undo()
    assert Index(file).load() == ROWS


def test_locked_by_another(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUSY_SECONDS", 0.05)
    Index(file).store(ROWS, [])
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    Index(file).store({"/b.pt": ("1", "{}")}, [])
    assert Index(file).load() == {}
    other.execute("ROLLBACK")
    other.close()
    assert Index(file).load() == ROWS


WRITER = """
import sys
from pathlib import Path
from train_embedding.services.library.index import Index
index = Index(Path(sys.argv[1]))
for number in range(60):
    index.store({f"/{sys.argv[2]}-{number}.pt": ("stamp", "{}")}, [])
    index.load()
"""


def test_two_processes_write_at_once(file: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(file)]
    processes = [subprocess.Popen([*command, name], cwd=ROOT, stderr=subprocess.PIPE, text=True) for name in ("a", "b")]
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert (process.returncode, errors) == (0, "")
    assert set(Index(file).load()) == {f"/{name}-{number}.pt" for name in ("a", "b") for number in range(60)}
