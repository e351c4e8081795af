"""Open regular files only: opening a pipe in a file's place would block."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from train_embedding.messages import msg

_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


class NotRegularFile(OSError):
    """The path is a folder, a pipe, a socket or a device."""

    def __init__(self, path: Path) -> None:
        super().__init__(0, msg("it is not a regular file"), str(path))


def open_regular_file(path: Path) -> BinaryIO:
    """Open a regular file for reading; never blocks on a pipe or device.

    The type is checked again after opening, since the file may be replaced in between.

    Raises:
        NotRegularFile: The path is something else.
        OSError: The file cannot be opened.
    """
    if not stat.S_ISREG(path.stat().st_mode):  # before opening too, since opening a device can have side effects
        raise NotRegularFile(path)
    descriptor = os.open(path, _FLAGS)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise NotRegularFile(path)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_regular_file(path: Path, limit: int) -> bytes:
    """Read at most `limit` + 1 bytes of a file; the additional byte shows that it is larger than the limit.

    Raises:
        OSError: As `open_regular_file`.
    """
    with open_regular_file(path) as file:
        return file.read(limit + 1)
