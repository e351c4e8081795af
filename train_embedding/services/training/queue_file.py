"""The file of the training queue: read when it has changed, and changed by one thread of one process at a time."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from train_embedding.embeddings.storage import replace_file, write_atomically
from train_embedding.errors import Busy, Conflict, SystemRefused, cannot_read
from train_embedding.messages import msg
from train_embedding.services.store.locks import file_lock
from train_embedding.services.training.queue_records import MAX_FILE, QueueContents, read_queue

FOLDER = "queue"
"Next to the runs folder."
WAIT_SECONDS = 10.0
"How long a change waits for that of another process, which takes milliseconds."

logger = logging.getLogger(__name__)

Stamp = tuple[int, int, int]
"Modification time in ns, size and inode of the file, which each change replaces."


class QueueFile:
    """`queue.json` in a folder, with locks next to it. Safe to use from any thread, and from several processes.

    Args:
        folder: Returns the folder, which is created by the first change.
    """

    def __init__(self, folder: Callable[[], Path]) -> None:
        self._folder = folder
        self._lock = threading.RLock()
        self._known: tuple[Stamp, QueueContents] | None = None

    @property
    def path(self) -> Path:
        """The file."""
        return self._folder() / "queue.json"

    def stamp(self) -> Stamp:
        """Return what changes with the file; (0, 0, 0) if there is none."""
        try:
            status = self.path.stat()
        except OSError:
            return (0, 0, 0)
        return (status.st_mtime_ns, status.st_size, status.st_ino)

    def read(self) -> QueueContents:
        """Return the queue; it is empty if its file is damaged, which is logged.

        Raises:
            SystemRefused: The file cannot be read.
        """
        with self._lock:
            stamp = self.stamp()
            if self._known is None or self._known[0] != stamp:
                self._known = (stamp, self._load())
            return self._known[1]

    def change(self, change: Callable[[QueueContents], QueueContents]) -> QueueContents:
        """Change the queue, and return it as it is afterwards.

        Args:
            change: Makes the new queue of the present one. An error that it raises leaves the queue as it was.

        Raises:
            Busy: Another process keeps the file.
            Conflict: The queue is full.
            StorageFailed: The file cannot be written.
            SystemRefused: The file cannot be read.
        """
        with self._lock:
            try:
                with file_lock(self._folder() / "change.lock", WAIT_SECONDS):
                    return self._change(change)
            except TimeoutError as error:
                raise Busy(msg("Another program is changing the queue."), msg("Try again in a moment.")) from error

    @contextmanager
    def working(self, seconds: float = 0.0) -> Generator[None, None, None]:
        """Be the process that works on the queue until exit.

        Args:
            seconds: How long to wait for another process.

        Raises:
            TimeoutError: Another process is.
            StorageFailed: The lock cannot be used.
        """
        with file_lock(self._folder() / "work.lock", seconds):
            yield

    def is_worked_on(self) -> bool:
        """Return whether a process works on the queue."""
        if not (self._folder() / "work.lock").exists():
            return False
        try:
            with self.working():
                return False
        except TimeoutError:
            return True

    def _change(self, change: Callable[[QueueContents], QueueContents]) -> QueueContents:
        before = self.read()
        after = change(before).trimmed()
        if after == before:
            return before
        data = after.to_bytes()
        if len(data) > MAX_FILE:
            raise Conflict(msg("The queue is full."), msg("Remove jobs that have ended, or wait until some are done."))
        if self.stamp() != (0, 0, 0) and self._is_damaged():
            replace_file(self.path, self.path.with_name("queue.damaged.json"))
        write_atomically(self.path, data)
        self._known = (self.stamp(), after)
        return after

    def _load(self) -> QueueContents:
        try:
            return read_queue(self.path)
        except ValueError as error:
            logger.warning("The queue in %s cannot be read; the next change keeps it as queue.damaged.json: %s", self.path, error)
            return QueueContents()
        except OSError as error:
            raise SystemRefused(cannot_read(self.path.name, error), msg("Check the permissions of the file.")) from error

    def _is_damaged(self) -> bool:
        try:
            read_queue(self.path)
        except ValueError:
            return True
        return False
