"""A listing over an index: it reads what changed, whoever wrote the index, and whatever became of it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from train_embedding.embeddings import formats
from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.formats import read_contents, write_embedding
from train_embedding.messages import msg
from train_embedding.services.library.file_summary import FileSummary, summarize, summary_from_json, to_record
from train_embedding.services.library.library import Library
from train_embedding.services.library.listing import SETTLED_SECONDS
from train_embedding.services.store.store import OWN_FOLDER
from train_embedding.testing import FakeHost

ROOT = Path(__file__).parents[3]


def put(host: FakeHost, path: str, value: float = 1.0) -> Path:
    file = host.info().embeddings_folder / path
    write_embedding(Embedding(file.stem, {"clip_l": torch.full((2, 768), value)}, 10, "v1-5"), file)
    return file


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were read, from now on."""
    files: list[str] = []

    def counted(path: Path) -> bytes:
        files.append(path.name)
        return read_contents(path)

    monkeypatch.setattr(formats, "read_contents", counted)
    return files


@pytest.fixture
def host(fake_host: FakeHost) -> FakeHost:
    """Three files, of which one is damaged, and notes."""
    folder = fake_host.info().embeddings_folder
    put(fake_host, "a.pt")
    put(fake_host, "sub/b.safetensors")
    (folder / "bad.pt").write_bytes(b"garbage")
    (folder / "a.json").write_text(json.dumps({"description": "of a"}), encoding="utf-8")
    time.sleep(2 * SETTLED_SECONDS)
    return fake_host


def index_of(host: FakeHost) -> Path:
    return host.info().runs_folder.parent / OWN_FOLDER / "index.sqlite"


def test_another_process_reads_nothing_again_but_what_was_wrong(host: FakeHost, read: list[str]) -> None:
    before = Library(host).list()
    assert sorted(read) == ["a.pt", "b.safetensors", "bad.pt"]
    assert not index_of(host).is_relative_to(host.info().embeddings_folder)
    read.clear()
    assert Library(host).list() == before
    assert read == ["bad.pt"]
    entry = Library(host).get("a")
    assert (entry.notes.description, entry.format, entry.folder, entry.path) == ("of a", "webui", "", "a.pt")
    assert Library(host).get("b").path == "sub/b.safetensors"


def test_messages_in_the_index_can_still_be_translated() -> None:
    summary = FileSummary(family="SD1", unsafe_reason=msg("imports {names}", names="posix.system"))
    read = summary_from_json(json.loads(json.dumps(to_record(summary))))
    assert read == summary
    assert (read.unsafe_reason.key, read.unsafe_reason.values) == ("imports {names}", {"names": "posix.system"})


def test_the_hash_is_the_webuis(host: FakeHost) -> None:
    """`hashes.sha256` of the file, whose first 12 digits stand in the infotext."""
    entry = Library(host).get("a")
    assert entry.hash == hashlib.sha256(entry.file.read_bytes()).hexdigest()[:12]
    assert Library(host).get("bad").hash == ""


def test_every_change_is_seen_in_a_new_process_too(host: FakeHost, read: list[str]) -> None:
    Library(host).list()
    old = (host.info().embeddings_folder / "a.pt").stat()
    read.clear()
    file = put(host, "a.pt", value=2.0)
    os.utime(file, ns=(old.st_atime_ns, old.st_mtime_ns))
    (file.parent / "a.json").write_text('{"description": "new"}', encoding="utf-8")
    assert Library(host).get("a").notes.description == "new"
    assert "a.pt" in read
    file.unlink()
    time.sleep(2 * SETTLED_SECONDS)
    assert [entry.name for entry in Library(host).list()] == ["b", "bad"]
    rows = sqlite3.connect(index_of(host)).execute("SELECT path FROM known").fetchall()
    assert [Path(os.fsdecode(path)).name for (path,) in rows] == ["b.safetensors"]


def test_a_file_that_changes_within_a_tick_is_read_again(
    host: FakeHost, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two changes so close that the file's stamp stays the same."""
    library = Library(host)
    file = put(host, "a.pt", value=3.0)
    library.list()
    read.clear()
    library.list()
    assert read == ["a.pt"], "it was too young to be trusted"
    assert file.exists()


LIES = ["nothing", "3", "[]", '{"widths": 3}', '{"widths": {"a": "b"}}', '{"vectors": "many"}', '{"notes": {"notes": 3}}', "{}"]


@pytest.mark.parametrize("lie", LIES)
def test_an_index_that_holds_something_else(host: FakeHost, lie: str) -> None:
    before = Library(host).list()
    with sqlite3.connect(index_of(host)) as connection:
        connection.execute("UPDATE known SET value = ?", (lie,))
    connection.close()
    if lie != "{}":  # which is the content of a file that says nothing
        assert Library(host).list() == before
    assert len(Library(host).list()) == len(before)


@pytest.mark.parametrize("what", ["deleted", "garbage", "folder", "read-only"])
def test_whatever_becomes_of_the_index(host: FakeHost, what: str) -> None:
    before = Library(host).list()
    index = index_of(host)
    library = Library(host)
    library.list()
    if what == "deleted":
        shutil.rmtree(index.parent)
    elif what == "garbage":
        index.write_bytes(b"garbage" * 1000)
    elif what == "folder":
        index.unlink()
        index.mkdir()
    else:
        index.chmod(0o400)
        index.parent.chmod(0o500)
    try:
        assert library.list() == before
        assert Library(host).list() == before
        put(host, "c.pt")
        assert len(library.list()) == len(Library(host).list()) == len(before) + 1
    finally:
        index.parent.chmod(0o700)


def test_notes_that_cannot_be_read_are_remarked(host: FakeHost) -> None:
    (host.info().embeddings_folder / "a.json").write_bytes(b"\xff")
    entry = Library(host).get("a")
    assert entry.notes.description == ""
    assert any('"a.json" is not a notes file' in warning for warning in entry.warnings)


def test_a_large_file_of_notes_is_not_read(host: FakeHost) -> None:
    (host.info().embeddings_folder / "a.json").write_bytes(b" " * 2**21)
    assert any("larger than 1024 KB" in warning for warning in Library(host).get("a").warnings)


def test_twins_are_pointed_out(host: FakeHost) -> None:
    put(host, "twin.safetensors", value=1.0)
    warnings = Library(host).get("twin").warnings
    assert '"a.pt" has the same vectors.' in warnings


def test_folders_that_lie_very_deep(host: FakeHost) -> None:
    folder = host.info().embeddings_folder
    deep = folder.joinpath(*["d"] * 300)
    deep.mkdir(parents=True)
    shutil.copy(folder / "a.pt", deep / "deep.pt")
    assert Library(host).get("deep").folder == "/".join(["d"] * 300)


LISTER = """
import sys
from pathlib import Path
from train_embedding.testing import FakeHost
from train_embedding.services.library import Library
host = FakeHost(Path(sys.argv[1]))
for number in range(int(sys.argv[2])):
    entries = Library(host).list()
    assert [entry.name for entry in entries][:1] == ["a"], entries
print(len(entries))
"""


@pytest.mark.slow
def test_two_processes_list_while_the_index_is_deleted_again_and_again(host: FakeHost, tmp_path: Path) -> None:
    command = [sys.executable, "-c", LISTER, str(tmp_path), "40"]
    processes = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    while any(process.poll() is None for process in processes):
        index_of(host).unlink(missing_ok=True)
        time.sleep(0.003)
    for process in processes:
        output, errors = process.communicate()
        assert (process.returncode, output.strip(), errors) == (0, "3", "")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipes_in_the_folder_are_not_waited_for(fake_host: FakeHost) -> None:
    put(fake_host, "a.pt")
    folder = fake_host.info().embeddings_folder
    for name in ("b.pt", "c.safetensors", "d.png", "a.json", "a.preview.png", "a.txt"):
        os.mkfifo(folder / name)
    entries = {entry.name: entry for entry in Library(fake_host).list()}
    assert entries["a"].vectors == 2
    assert entries["b"].reason == '"b.pt" is not a regular file.'
    assert summarize(folder / "c.safetensors").problem == '"c.safetensors" is not a regular file.'
