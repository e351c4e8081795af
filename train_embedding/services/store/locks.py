"""Locks between processes: on changes of the embeddings folder, and on each embedding that is being trained.

A lock is held on an open file, so it ends with its process, even if that is killed. File systems without locks, such as some
network drives, give no protection between processes, because a marker file would outlive a killed process.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from train_embedding.embeddings.storage import remove_file, storage_failed, temporary_key
from train_embedding.errors import BeingTrained
from train_embedding.messages import msg

if TYPE_CHECKING:  # imported where it is used, so that `doctor` can run and say that it is missing
    from filelock import BaseFileLock

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
"Errors of file systems without locks."


@contextmanager
def file_lock(path: Path, seconds: float = 0.0) -> Generator[None, None, None]:
    """Hold the lock on a file against every other thread and process until exit.

    Args:
        path: The lock file, which is created if it does not exist.
        seconds: How long to wait for another holder.

    Raises:
        TimeoutError: Another thread or process still holds it.
        StorageFailed: The file cannot be opened.
    """
    from filelock import Timeout

    with ExitStack() as held:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _acquire(path, seconds, held)
        except Timeout as error:
            raise TimeoutError(f"{path} is locked") from error
        except OSError as error:
            raise storage_failed(path, error) from error
        yield


def being_trained(name: str) -> BeingTrained:
    """Return the error for a change of an embedding that is being trained."""
    return BeingTrained(msg('"{name}" is being trained.', name=name), msg("Wait until the run ends, or stop it."))


class TrainingLocks:
    """Locks on embeddings that are being trained: a lock file for each in `folder`, held by the run's process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def hold(self, name: str) -> Generator[None, None, None]:
        """Keep others from replacing, renaming and deleting an embedding until exit.

        Raises:
            BeingTrained: Another run is training it.
        """
        try:
            with file_lock(self._file(name)):
                yield
        except TimeoutError as error:
            raise being_trained(name) from error

    def is_locked(self, name: str) -> bool:
        """Whether a run is training the embedding, in this process or another."""
        file = self._file(name)
        if not file.exists():
            return False
        try:
            with file_lock(file):
                return False
        except TimeoutError:
            return True

    def check_free(self, *names: str) -> None:
        """Raise BeingTrained if one of these embeddings is being trained."""
        for name in names:
            if self.is_locked(name):
                raise being_trained(name)

    def _file(self, name: str) -> Path:
        return self._folder / f"{hashlib.sha256(name.encode('utf-8', 'replace')).hexdigest()[:16]}.lock"


def _acquire(path: Path, seconds: float, held: ExitStack) -> None:
    """Enter the lock on a file into `held`, if the file system has locks. Raises Timeout, OSError."""
    from filelock import SoftFileLock

    lock = _lock(path, seconds)
    try:
        held.enter_context(lock)
    except (OSError, NotImplementedError):
        if not isinstance(lock, SoftFileLock) and _has_locks(path.parent):
            raise
    if isinstance(lock, SoftFileLock):  # the marker file that newer releases of filelock fall back to
        held.close()
    elif lock.is_locked and not path.exists():  # the file was deleted between opening and locking it
        held.close()
        _acquire(path, seconds, held)


def _has_locks(folder: Path) -> bool:
    """Whether the file system has locks: filelock before 3.24 reports a timeout if it has none."""
    from filelock import Timeout

    trial = folder / f".{temporary_key()}.tmp"
    try:
        with _lock(trial, 0.0):
            return True
    except (Timeout, NotImplementedError):
        return False
    except OSError as error:
        return error.errno not in _NO_LOCKS
    finally:
        remove_file(trial, missing_ok=True)


def _lock(path: Path, seconds: float) -> BaseFileLock:
    from filelock import FileLock

    return FileLock(path, timeout=seconds, thread_local=False)
