"""Opening files in people's folders, where a pipe may have taken a file's place, and opening it would wait for ever."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


class NotRegularFile(OSError):
    """A folder, a pipe, a socket or a device in a file's place."""

    def __init__(self, path: Path) -> None:
        super().__init__(0, "it is not a regular file", str(path))


def open_regular_file(path: Path) -> BinaryIO:
    """Open a file for reading, without waiting for what is none.

    What the path leads to is looked at once it is open, so that nothing else can take its place in between.

    Raises:
        NotRegularFile: Where it is something else; an OSError, like whatever else keeps it from being opened.
    """
    if not stat.S_ISREG(path.stat().st_mode):  # before it is opened too: opening a device can have effects
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
    """Read a file, and of one that is larger than `limit` bytes one byte more, which tells so.

    Raises:
        OSError: As `open_regular_file`.
    """
    with open_regular_file(path) as file:
        return file.read(limit + 1)
