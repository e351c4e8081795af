"""Writing, replacing and removing files so that a crash, a full disk or another program leaves the old ones as they were."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import platform
import secrets
import shutil
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import BinaryIO

from train_embedding.embeddings.regular_files import open_regular_file
from train_embedding.errors import StorageFailed

_FULL = (errno.ENOSPC, errno.EDQUOT)
_REFUSED = (errno.EACCES, errno.EPERM, errno.EBUSY, errno.EROFS)
_BUSY = (errno.EACCES, errno.EBUSY)
"What Windows and network drives answer for a moment, while a scanner or a reader has the file open."
_SHARING_VIOLATIONS = (32, 33)
"Windows: another program has the file, or a part of it, open."
PAUSES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.5)
"Seconds between the attempts to replace or remove a file that is in use."
_MOST_OF_A_STEM = 40
"Characters of a file's name in that of its temporary file."

logger = logging.getLogger(__name__)


def write_atomically(path: Path, data: bytes, *, patient: bool = True) -> None:
    """Writes `data` to `path`, in place of what is there: all of it or nothing. Makes the folder if need be.

    The data goes to a temporary file beside it that no host would load, is flushed to the disk, read back and compared,
    and takes its place in one move.

    Args:
        path: Where to.
        data: All that the file is to hold.
        patient: Whether to try again for two seconds while another program has the old file open.

    Raises:
        StorageFailed: The old file is untouched, and the temporary one removed.
    """
    temporary = path.with_name(f".{path.stem[:_MOST_OF_A_STEM]}.{temporary_key()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            _write_compared(temporary, data, path)
            replace_file(temporary, path, patient=patient)
        except BaseException:
            _discard(temporary)
            raise
        flush_folder(path.parent)
    except OSError as error:
        raise storage_failed(path, error) from error


def write_new(path: Path, data: bytes, meant_for: Path) -> None:
    """Writes a file that is not there yet, down to the disk, reads it back and compares.

    meant_for: the path that it will have in the end, for the message. Raises StorageFailed and leaves no part of it.
    """
    try:
        _write_compared(path, data, meant_for)
    except BaseException as error:
        _discard(path)
        if isinstance(error, OSError):
            raise storage_failed(meant_for, error) from error
        raise


def copy_flushed(source: Path, target: Path, meant_for: Path | None = None) -> None:
    """Copies a file with its times to a new name, down to the disk. Raises StorageFailed and leaves no part of it.

    meant_for: the path that it will have in the end, where that is another.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open_regular_file(source) as original, target.open("xb") as copy:
                shutil.copyfileobj(original, copy)
                _flush(copy)
            shutil.copystat(source, target)
        except BaseException:
            _discard(target)
            raise
        flush_folder(target.parent)
    except OSError as error:
        raise storage_failed(meant_for or target, error) from error


def replace_file(source: Path, target: Path, *, patient: bool = True) -> None:
    """Moves a file or a folder to another name on the same disk, in place of a file that has it. Raises OSError.

    Tries again for two seconds while another program has one of them open.
    """
    _persistently(lambda: os.replace(source, target), (source, target), patient)


def remove_file(path: Path, *, missing_ok: bool = False) -> None:
    """Removes a file or a link; tries again for two seconds while another program has it open. Raises OSError."""
    try:
        _persistently(lambda: os.unlink(path), (path,))  # noqa: PTH108 - as os.replace, so that tests can refuse it
    except FileNotFoundError:
        if not missing_ok:
            raise


def remove_folder(path: Path) -> None:
    """Removes an empty folder; tries again for two seconds while another program has it open. Raises OSError."""
    _persistently(lambda: os.rmdir(path), (path,))  # noqa: PTH106


def remove_tree(path: Path) -> None:
    """Removes a folder with all that it holds; tries again for two seconds while other programs use it. Raises OSError."""
    _persistently(lambda: shutil.rmtree(path), (path,))


def temporary_key() -> str:
    """A part of a temporary file's name that is given once, and says which process of which machine made it."""
    return f"{os.getpid()}-{secrets.token_hex(4)}-{machine()}"


@cache
def machine() -> str:
    """Six hexadecimal digits that stand for this machine, or for the container that this process sees as one."""
    try:
        processes = str(Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:  # other systems have no such thing
        processes = ""
    return hashlib.sha256(f"{platform.node()} {processes}".encode()).hexdigest()[:6]


def storage_failed(path: Path, error: OSError, done: str = "written") -> StorageFailed:
    """The sentence for what could not be done to `path`. done: such as "written" or "deleted"."""
    what = f'"{path.name}" could not be {done}'
    if error.errno in _FULL:
        return StorageFailed(f"{what}: the disk is full.", "Free some space and try again; a run can be resumed.")
    if _winerror(error) in _SHARING_VIOLATIONS:
        return StorageFailed(f"{what}: another program has it open.", "Close that program and try again.")
    if error.errno in _REFUSED:
        if error.errno == errno.EROFS or not _may_write_to(path.parent):
            return StorageFailed(f'{what}: this program may not write to "{path.parent}".', "Check the folder's permissions.")
        return StorageFailed(
            f"{what}: another program has it open, or this program may not write to it.",
            "Close other programs that use it, or check its permissions, and try again.",
        )
    return StorageFailed(f'{what} in "{path.parent}": {error.strerror or error}.')


def is_refused(error: OSError | StorageFailed) -> bool:
    """Whether a file was in use or closed to this program, so that the next attempt may succeed."""
    return _number(error) in _REFUSED


def is_full(error: OSError | StorageFailed) -> bool:
    """Whether the disk had no room left."""
    return _number(error) in _FULL


def is_on_another_disk(error: OSError | StorageFailed) -> bool:
    """Whether a file could not be moved because the other folder is on another disk, or is mounted by itself."""
    return _number(error) == errno.EXDEV


def _persistently(action: Callable[[], None], paths: tuple[Path, ...], patient: bool = True) -> None:
    for pause in PAUSES if patient else ():
        try:
            action()
            return
        except OSError as error:
            # Where the folder itself is closed, waiting opens it for nobody.
            if error.errno not in _BUSY or not all(_may_write_to(path.parent) for path in paths):
                raise
        time.sleep(pause)
    action()


def _may_write_to(folder: Path) -> bool:
    """Whether this program may make files in a folder, or in the first one above it that exists."""
    existing = next((one for one in (folder, *folder.parents) if os.path.lexists(one)), folder)
    return os.access(existing, os.W_OK | os.X_OK)


def _number(error: BaseException) -> int | None:
    cause: BaseException | None = error
    while isinstance(cause, StorageFailed):
        cause = cause.__cause__
    return cause.errno if isinstance(cause, OSError) else None


def _winerror(error: OSError) -> int:
    """Windows' own number of an error; 0 on other systems."""
    return getattr(error, "winerror", None) or 0


def _discard(temporary: Path) -> None:
    """Removes a temporary file after a failure, which matters more than one that stays: the next sweep finds it."""
    try:
        remove_file(temporary, missing_ok=True)
    except OSError as error:
        logger.info("The temporary file %s cannot be removed now: %s", temporary, error)


def _write_compared(path: Path, data: bytes, meant_for: Path) -> None:
    _write_flushed(path, data)
    if path.read_bytes() != data:
        raise StorageFailed(f'"{meant_for.name}" was not written: what the disk gives back differs from what was written.')


def _write_flushed(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        _flush(file)


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    """Makes the new name itself survive a power cut, where the system can do that."""
    if os.name == "nt":
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # a folder that may be written to and not be read
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network and FUSE file systems have no such thing for folders.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(descriptor)
