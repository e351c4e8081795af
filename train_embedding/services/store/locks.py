"""A lock that processes share: held on an open file, so that it ends with its process, however that ends."""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from train_embedding.embeddings.storage import storage_failed

_POLL_SECONDS = 0.01
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
"What network file systems without locks answer; there a second process is on its own."


@contextmanager
def file_lock(path: Path, seconds: float = 0.0) -> Generator[None, None, None]:
    """Holds the lock on `path`, which is made where it is missing, against every other thread and process.

    seconds: how long to wait for whoever holds it. Raises TimeoutError after that, StorageFailed where the file cannot be opened.
    """
    deadline = time.monotonic() + seconds
    while True:
        descriptor = _opened(path)
        try:
            if _taken(descriptor) and _is_still(path, descriptor):
                yield
                return
        finally:
            os.close(descriptor)
        if time.monotonic() >= deadline:
            raise TimeoutError(f"{path} is locked")
        time.sleep(_POLL_SECONDS)


def _opened(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise storage_failed(path, error) from error


def _is_still(path: Path, descriptor: int) -> bool:
    """Whether this is the file that others would lock too: somebody may have deleted it meanwhile."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


if sys.platform == "win32":
    import msvcrt

    def _taken(descriptor: int) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _taken(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        return True
