"""Writing a file so that a crash or a full disk leaves the old one as it was."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from pathlib import Path
from typing import BinaryIO

from train_embedding.errors import StorageFailed

_FULL = (errno.ENOSPC, errno.EDQUOT)


def write_atomically(path: Path, data: bytes) -> None:
    """Puts `data` at `path`, in place of what is there: all of it or nothing. Makes the folder if need be.

    The data goes to a temporary file beside it that no host would load, is flushed to the disk, read back and compared,
    and takes its place in one move. Raises StorageFailed, with the temporary file removed and the old file untouched.
    """
    temporary = path.with_name(f".{path.stem}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            _write_compared(temporary, data, path)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
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
        path.unlink(missing_ok=True)
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
            with source.open("rb") as original, target.open("xb") as copy:
                shutil.copyfileobj(original, copy)
                _flush(copy)
            shutil.copystat(source, target)
        except BaseException:
            target.unlink(missing_ok=True)
            raise
        flush_folder(target.parent)
    except OSError as error:
        raise storage_failed(meant_for or target, error) from error


def storage_failed(path: Path, error: OSError) -> StorageFailed:
    """The sentence for a failed write to `path`."""
    if error.errno in _FULL:
        return StorageFailed(
            f'"{path.name}" could not be written: the disk is full.', "Free some space and try again; a run can be resumed."
        )
    if isinstance(error, PermissionError):
        return StorageFailed(f'"{path.name}" could not be written: this program may not write to "{path.parent}".')
    return StorageFailed(f'"{path.name}" could not be written to "{path.parent}": {error.strerror or error}.')


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
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network and FUSE file systems have no such thing for folders.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(descriptor)
