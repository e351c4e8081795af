"""One holder at a time, among threads and processes, and none after a process was killed."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from train_embedding.errors import StorageFailed
from train_embedding.services.store.locks import TrainingLocks, file_lock

ROOT = Path(__file__).parents[3]
HOLDER = """
import sys, time
from pathlib import Path
from train_embedding.services.store.locks import file_lock
with file_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_holder_waits_or_gives_up(tmp_path: Path) -> None:
    lock, order = tmp_path / "new" / "lock", list[str]()

    def second() -> None:
        with file_lock(lock, 10):
            order.append("second")

    with file_lock(lock):
        with pytest.raises(TimeoutError), file_lock(lock, 0.05):
            pass
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.05)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "lock")], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(TimeoutError), file_lock(tmp_path / "lock"):
            pass
        process.kill()
    with file_lock(tmp_path / "lock"):
        pass


def test_a_lock_file_that_was_deleted_is_made_anew(tmp_path: Path) -> None:
    with file_lock(tmp_path / "lock"):
        (tmp_path / "lock").unlink()
        with file_lock(tmp_path / "lock"):
            pass


def test_where_no_file_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageFailed), file_lock(tmp_path / "file" / "lock"):
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has locks everywhere")
@pytest.mark.parametrize("answer", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL])
@pytest.mark.filterwarnings("ignore:flock not supported")
def test_a_file_system_without_locks_can_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: int) -> None:
    import fcntl

    def flock(_file: int, _operation: int) -> None:
        raise OSError(answer, os.strerror(answer))

    monkeypatch.setattr(fcntl, "flock", flock)
    for _ in range(2):
        with file_lock(tmp_path / "lock", 0.1), file_lock(tmp_path / "lock", 0.1):
            pass
    assert not TrainingLocks(tmp_path).is_locked("sword")
    with TrainingLocks(tmp_path).hold("sword"):
        assert not TrainingLocks(tmp_path).is_locked("sword")
    assert not list(tmp_path.glob("*.tmp"))
