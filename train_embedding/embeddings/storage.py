"""Crash-safe file operations: after a crash, on a full disk or on a locked file, the old file is still complete."""

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
from typing import BinaryIO, Literal

from train_embedding.embeddings.regular_files import open_regular_file
from train_embedding.errors import StorageFailed
from train_embedding.messages import Message, msg, verbatim

Operation = Literal["written", "replaced", "moved", "deleted"]
"What was to be done to a file."

_FULL = (errno.ENOSPC, errno.EDQUOT)
_REFUSED = (errno.EACCES, errno.EPERM, errno.EBUSY, errno.EROFS)
_BUSY = (errno.EACCES, errno.EBUSY)
"Temporary on Windows and network drives, while a virus scanner or another reader has the file open."
_SHARING_VIOLATIONS = (32, 33)
"Windows error codes: another program has opened the file or locked a part of it."
PAUSES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.5)
"Seconds between attempts to replace or remove a file that is in use."
_KEPT_STEM = 40
"Characters of a file's stem that the name of its temporary file keeps."

logger = logging.getLogger(__name__)


def write_atomically(path: Path, data: bytes, *, patient: bool = True) -> None:
    """Write a file completely or not at all, replacing an existing one; missing folders are created.

    The data is written to a temporary file in the same folder, under a name that no host loads, flushed to the disk, read
    back and compared, and then moved to `path` in one step.

    Args:
        path: The file to write.
        data: Its whole content.
        patient: Whether to retry for about two seconds while another program has the old file open.

    Raises:
        StorageFailed: The old file is unchanged, and the temporary one is removed.
    """
    temporary = path.with_name(f".{path.stem[:_KEPT_STEM]}.{temporary_key()}.tmp")
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


def write_new(path: Path, data: bytes, final_path: Path) -> None:
    """Write a new file, flush it to the disk, read it back and compare.

    Args:
        path: The file, which must not exist yet.
        data: Its whole content.
        final_path: Where the file will be moved to later; messages name this path.

    Raises:
        StorageFailed: Nothing of the file is left.
    """
    try:
        _write_compared(path, data, final_path)
    except BaseException as error:
        _discard(path)
        if isinstance(error, OSError):
            raise storage_failed(final_path, error) from error
        raise


def copy_flushed(source: Path, target: Path, final_path: Path | None = None) -> None:
    """Copy a file with its timestamps and flush the copy to the disk.

    Args:
        source: The file to copy.
        target: The copy, which must not exist yet; missing folders are created.
        final_path: Where the copy will be moved to later, if anywhere; messages name this path.

    Raises:
        StorageFailed: Nothing of the copy is left.
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
        raise storage_failed(final_path or target, error) from error


def replace_file(source: Path, target: Path, *, patient: bool = True) -> None:
    """Move a file or folder on the same disk, replacing an existing file.

    Args:
        source: The file or folder to move.
        target: Its new path.
        patient: Whether to retry for about two seconds while another program has one of them open.

    Raises:
        OSError: It could not be moved.
    """
    _with_retries(lambda: os.replace(source, target), (source, target), patient)


def remove_file(path: Path, *, missing_ok: bool = False) -> None:
    """Remove a file or link, retrying for about two seconds while another program has it open.

    Args:
        path: The file or link.
        missing_ok: Whether to accept that it does not exist.

    Raises:
        OSError: It could not be removed.
    """
    try:
        _with_retries(lambda: os.unlink(path), (path,))  # noqa: PTH108 - like os.replace, so that tests can make it fail
    except FileNotFoundError:
        if not missing_ok:
            raise


def remove_folder(path: Path) -> None:
    """Remove an empty folder, retrying for about two seconds while another program has it open.

    Raises:
        OSError: It could not be removed.
    """
    _with_retries(lambda: os.rmdir(path), (path,))  # noqa: PTH106


def remove_tree(path: Path) -> None:
    """Remove a folder and its contents, retrying for about two seconds while another program has a file in it open.

    Raises:
        OSError: It could not be removed completely.
    """
    _with_retries(lambda: shutil.rmtree(path), (path,))


def temporary_key() -> str:
    """Return a unique part for the name of a temporary file, which also identifies the process and machine that made it."""
    return f"{os.getpid()}-{secrets.token_hex(4)}-{machine()}"


@cache
def machine() -> str:
    """Return six hexadecimal digits that identify this machine, or this container."""
    try:
        processes = str(Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:  # no /proc outside Linux
        processes = ""
    return hashlib.sha256(f"{platform.node()} {processes}".encode()).hexdigest()[:6]


def storage_failed(path: Path, error: OSError, operation: Operation = "written") -> StorageFailed:
    """Return the error that explains why an operation on a file failed.

    Args:
        path: The file.
        error: The error of the operating system.
        operation: What was to be done to the file.
    """
    failure = _failure(path, operation)
    if error.errno in _FULL:
        return StorageFailed(
            msg("{failure}: the disk is full.", failure=failure),
            msg("Free some space and try again. An interrupted run can be resumed."),
        )
    if _windows_code(error) in _SHARING_VIOLATIONS:
        return StorageFailed(
            msg("{failure}: another program has it open.", failure=failure), msg("Close that program and try again.")
        )
    if error.errno in _REFUSED:
        if error.errno == errno.EROFS or not _may_write_to(path.parent):
            return StorageFailed(
                msg('{failure}: the folder "{folder}" is not writable.', failure=failure, folder=path.parent),
                msg("Check the permissions of the folder."),
            )
        return StorageFailed(
            msg("{failure}: another program has it open, or you have no permission to change it.", failure=failure),
            msg("Close other programs that use it, or check its permissions, and try again."),
        )
    return StorageFailed(
        msg('{failure} in "{folder}": {reason}.', failure=failure, folder=path.parent, reason=system_reason(error))
    )


def system_reason(error: OSError) -> Message:
    """Return what the operating system says about an error, without a period."""
    return verbatim(error.strerror or str(error))


def is_refused(error: OSError | StorageFailed) -> bool:
    """Return whether a file was in use or not writable, so that another attempt may succeed."""
    return _error_number(error) in _REFUSED


def is_full(error: OSError | StorageFailed) -> bool:
    """Return whether the disk was full."""
    return _error_number(error) in _FULL


def is_on_another_disk(error: OSError | StorageFailed) -> bool:
    """Return whether a file could not be moved because the target is on another disk or mount."""
    return _error_number(error) == errno.EXDEV


def _failure(path: Path, operation: Operation) -> Message:
    """Say which operation failed, as the beginning of a sentence."""
    if operation == "replaced":
        return msg('"{file}" could not be replaced', file=path.name)
    if operation == "moved":
        return msg('"{file}" could not be moved', file=path.name)
    if operation == "deleted":
        return msg('"{file}" could not be deleted', file=path.name)
    return msg('"{file}" could not be written', file=path.name)


def _with_retries(action: Callable[[], None], paths: tuple[Path, ...], patient: bool = True) -> None:
    for pause in PAUSES if patient else ():
        try:
            action()
            return
        except OSError as error:
            # Waiting does not help if the folder itself is not writable.
            if error.errno not in _BUSY or not all(_may_write_to(path.parent) for path in paths):
                raise
        time.sleep(pause)
    action()


def _may_write_to(folder: Path) -> bool:
    """Return whether this program may create files in a folder, or in its closest parent that exists."""
    existing = next((path for path in (folder, *folder.parents) if os.path.lexists(path)), folder)
    return os.access(existing, os.W_OK | os.X_OK)


def _error_number(error: BaseException) -> int | None:
    """Return the `errno` of an error, or of the OSError that caused it."""
    cause: BaseException | None = error
    while isinstance(cause, StorageFailed):
        cause = cause.__cause__
    return cause.errno if isinstance(cause, OSError) else None


def _windows_code(error: OSError) -> int:
    """Return Windows' own code of an error; 0 on other systems."""
    return getattr(error, "winerror", None) or 0


def _discard(temporary: Path) -> None:
    """Try to remove a temporary file after a failure; a later cleanup removes it if this fails."""
    try:
        remove_file(temporary, missing_ok=True)
    except OSError as error:
        logger.info("The temporary file %s cannot be removed now: %s", temporary, error)


def _write_compared(path: Path, data: bytes, final_path: Path) -> None:
    _write_flushed(path, data)
    if path.read_bytes() != data:
        raise StorageFailed(
            msg('"{file}" was not written: the data read back from the disk differs.', file=final_path.name),
            msg("Check the disk for errors."),
        )


def _write_flushed(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        _flush(file)


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    """Flush a folder to the disk, so that new names in it survive a power failure; does nothing where that is unsupported."""
    if os.name == "nt":
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # a folder that is writable but not readable
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network and FUSE file systems cannot flush folders.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(descriptor)
