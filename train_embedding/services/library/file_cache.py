"""What was read of files, kept for as long as their stamps stay the same."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Generic, TypeVar

from train_embedding.services.library.index import Known

SETTLED_SECONDS = 0.05
"A file that changed less than this before it was read may change once more within one tick of the file system's clock."

T = TypeVar("T")
"A dataclass of plain values."


class FileCache(Generic[T]):
    """For files of one kind. Not safe to call from several threads.

    read: makes the value of a file; never fails. decode: makes it of what `dataclasses.asdict` gave; raises TypeError, ValueError
    or KeyError for anything else. keeps: whether a value may be kept on the disk.
    """

    def __init__(self, read: Callable[[Path], T], decode: Callable[[Any], T], keeps: Callable[[T], bool]) -> None:
        self._read = read
        self._decode = decode
        self._keeps = keeps
        self._memory: dict[str, tuple[str, T]] = {}
        self._seen: dict[str, tuple[str, T]] = {}
        self._news: dict[str, Known] = {}

    def get(self, path: Path, status: os.stat_result, stored: Mapping[str, Known]) -> T:
        """The value of a file as it is now. stored: what the disk keeps, by path."""
        key, stamp = str(path if path.is_absolute() else path.absolute()), _stamp_of(status)
        was, value = self._memory.get(key) or self._decoded(stored.get(key), stamp)
        if was != stamp or value is None:
            value = self._read(path)
            if time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) < SETTLED_SECONDS * 1e9:
                stamp = ""
            elif self._keeps(value):
                self._news[key] = (stamp, json.dumps(asdict(value)))  # pyright: ignore[reportCallIssue, reportArgumentType, reportUnknownArgumentType]
        self._seen[key] = (stamp, value)
        return value

    def turn_over(self) -> tuple[dict[str, Known], set[str]]:
        """Forgets every file that was not asked for since the last time.

        Returns what the disk should keep and does not yet, and the paths of all files that were asked for.
        """
        news, seen = self._news, self._seen
        self._memory, self._seen, self._news = seen, {}, {}
        return news, set(seen)

    def _decoded(self, known: Known | None, stamp: str) -> tuple[str, T | None]:
        if known is None or known[0] != stamp:
            return "", None
        try:
            return stamp, self._decode(json.loads(known[1]))
        except (TypeError, ValueError, KeyError):  # damaged, or by another hand; the file is read again
            return "", None


def _stamp_of(status: os.stat_result) -> str:
    # The change time tells of new permissions, the inode of a file moved into place within one tick of the clock.
    return f"{status.st_mtime_ns} {status.st_ctime_ns} {status.st_size} {status.st_ino}"
