"""A write that fails leaves the old file, and nothing else."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from train_embedding.embeddings import storage
from train_embedding.embeddings.storage import copy_flushed, write_atomically
from train_embedding.errors import StorageFailed


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_writes_and_overwrites(tmp_path: Path) -> None:
    path = tmp_path / "new" / "sword.pt"
    write_atomically(path, b"one")
    write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert listing(path.parent) == ["sword.pt"]


def test_new_files_obey_the_umask(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    write_atomically(tmp_path / "sword.pt", b"one")
    assert (tmp_path / "sword.pt").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_link_is_replaced_and_its_target_left_alone(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"keep")
    (tmp_path / "sword.pt").symlink_to(tmp_path / "target")
    write_atomically(tmp_path / "sword.pt", b"new")
    assert (tmp_path / "target").read_bytes() == b"keep"
    assert not (tmp_path / "sword.pt").is_symlink()


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "the disk is full"),
        (errno.EACCES, "may not write"),
        (errno.EIO, "Input/output"),
    ],
)
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_failure_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int, sentence: str
) -> None:
    path = tmp_path / "sword.pt"
    path.write_bytes(b"old")

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(StorageFailed, match=sentence) as caught:
        write_atomically(path, b"new")
    assert "sword.pt" in caught.value.message
    assert path.read_bytes() == b"old"
    assert listing(tmp_path) == ["sword.pt"]


def test_the_temporary_file_is_none_that_a_host_would_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    fsync = os.fsync

    def look(descriptor: int) -> None:
        seen.extend(listing(tmp_path))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", look)
    write_atomically(tmp_path / "sword.pt", b"new")
    assert seen[0].startswith(".sword.")
    assert seen[0].endswith(".tmp")
    assert str(os.getpid()) in seen[0]


def test_what_the_disk_garbles_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "sword.pt"
    path.write_bytes(b"old")
    write = storage._write_flushed  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(storage, "_write_flushed", lambda target, data: write(target, data[:-1] + b"?"))
    with pytest.raises(StorageFailed, match="differs"):
        write_atomically(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert listing(tmp_path) == ["sword.pt"]


def test_copy_keeps_the_times_and_never_overwrites(tmp_path: Path) -> None:
    source, target = tmp_path / "a", tmp_path / "trash" / "b"
    source.write_bytes(b"old")
    os.utime(source, (1000, 1000))
    copy_flushed(source, target)
    assert target.read_bytes() == b"old"
    assert target.stat().st_mtime == 1000
    assert source.read_bytes() == b"old"


def test_a_failed_copy_leaves_no_part_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = tmp_path / "a", tmp_path / "trash" / "b"
    source.write_bytes(b"old")

    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageFailed, match="disk is full"):
        copy_flushed(source, target)
    assert listing(target.parent) == []
    assert source.read_bytes() == b"old"


@pytest.mark.skipif(sys.platform == "win32", reason="needs setrlimit")
def test_a_true_limit_of_the_system(tmp_path: Path) -> None:
    """No monkeypatch: the kernel itself refuses to write past 4 KiB."""
    path = tmp_path / "sword.pt"
    path.write_bytes(b"old")
    program = """
import resource, sys
from pathlib import Path
from train_embedding.embeddings.storage import write_atomically
from train_embedding.errors import StorageFailed
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    write_atomically(Path(sys.argv[1]), b"x" * 100_000)
except StorageFailed as error:
    print(error.message)
"""
    command = [sys.executable, "-c", program, str(path)]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True, timeout=600)
    assert "could not be written" in done.stdout
    assert path.read_bytes() == b"old"
    assert listing(tmp_path) == ["sword.pt"]
