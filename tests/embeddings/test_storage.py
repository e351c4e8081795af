"""A write that fails leaves the old file, and nothing else."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from train_embedding.embeddings import storage
from train_embedding.embeddings.storage import (
    copy_flushed,
    remove_file,
    remove_folder,
    remove_tree,
    replace_file,
    write_atomically,
)
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
        (errno.EACCES, "no permission"),
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


def refusing(monkeypatch: pytest.MonkeyPatch, call: str, times: int, number: int = errno.EACCES) -> list[str]:
    """The first `times` calls are refused, as Windows does while a scanner or a reader has the file open."""
    real, seen = getattr(os, call), list[str]()

    def stand_in(*arguments: object, **options: object) -> object:
        seen.append(str(arguments[0]))
        if len(seen) <= times:
            raise OSError(number, "Access is denied", str(arguments[0]))
        return real(*arguments, **options)

    monkeypatch.setattr(os, call, stand_in)
    return seen


@pytest.mark.parametrize("number", [errno.EACCES, errno.EBUSY])
def test_a_file_that_is_in_use_for_a_moment_is_replaced_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    path = tmp_path / "sword.pt"
    path.write_bytes(b"old")
    seen = refusing(monkeypatch, "replace", 3, number)
    write_atomically(path, b"new")
    assert len(seen) == 4
    assert path.read_bytes() == b"new"
    assert listing(tmp_path) == ["sword.pt"]


def test_everything_that_removes_tries_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("moved", "folder", "tree/inner"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("file", "tree/inner/file"):
        (tmp_path / name).touch()
    for call in ("replace", "unlink", "rmdir"):
        refusing(monkeypatch, call, 1)
    replace_file(tmp_path / "moved", tmp_path / "elsewhere")
    remove_file(tmp_path / "file")
    remove_folder(tmp_path / "folder")
    refusing(monkeypatch, "rmdir", 1)
    remove_tree(tmp_path / "tree")
    assert listing(tmp_path) == ["elsewhere"]


def test_a_file_that_stays_open_is_a_true_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses = list[float]()
    monkeypatch.setattr(storage.time, "sleep", pauses.append)
    (tmp_path / "sword.pt").touch()
    refusing(monkeypatch, "replace", 100)
    with pytest.raises(StorageFailed, match=r'^"sword\.pt" could not be written: another program has it open, or you') as caught:
        write_atomically(tmp_path / "sword.pt", b"new")
    assert "Close other programs" in caught.value.hint
    assert 1.5 < sum(pauses) < 3
    assert listing(tmp_path) == ["sword.pt"]


def test_windows_says_which_file_is_open(tmp_path: Path) -> None:
    error = PermissionError(errno.EACCES, "The process cannot access the file")
    error.winerror = 32  # type: ignore[attr-defined]
    assert storage.storage_failed(tmp_path / "a.pt", error, "deleted").message == (
        '"a.pt" could not be deleted: another program has it open.'
    )


def test_a_closed_folder_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr(storage.time, "sleep", lambda _: pytest.fail("waited"))
    refusing(monkeypatch, "replace", 100)
    with pytest.raises(StorageFailed, match="is not writable") as caught:
        write_atomically(tmp_path / "sword.pt", b"new")
    assert str(tmp_path) in caught.value.message
    assert "another program" not in caught.value.message


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
