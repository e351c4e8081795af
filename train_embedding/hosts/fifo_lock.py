"""A fair lock, the job queue of hosts without their own."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class FifoLock:
    """A lock that threads acquire in the order in which they requested it. Not re-entrant."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._tickets: deque[object] = deque()
        "One per thread: the first one holds the lock, the others wait."

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Wait for the lock, and hold it until exit."""
        ticket = object()
        self._acquire(ticket)
        try:
            yield
        finally:
            with self._changed:
                self._tickets.popleft()
                self._changed.notify_all()

    def has_waiters(self) -> bool:
        """Return whether another thread is waiting for the lock."""
        with self._changed:
            return len(self._tickets) > 1

    def yield_to_waiters(self) -> None:
        """Yield the lock to the threads that are waiting now, then acquire it again; return at once if none is waiting.

        Only the thread that holds the lock may call this.
        """
        with self._changed:
            if len(self._tickets) < 2:
                return
            ticket = self._tickets.popleft()
            self._changed.notify_all()
        self._acquire(ticket)

    def _acquire(self, ticket: object) -> None:
        with self._changed:
            self._tickets.append(ticket)
            self._changed.wait_for(lambda: self._tickets[0] is ticket)
