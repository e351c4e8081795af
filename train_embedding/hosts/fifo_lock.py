"""A fair lock: the queue of a host that has none of its own."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class FifoLock:
    """A lock that threads get in the order in which they waited for it. Not re-entrant."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._tickets: deque[object] = deque()
        "The first one's owner holds the lock; the others wait."

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
        """Return whether another thread waits for the lock."""
        with self._changed:
            return len(self._tickets) > 1

    def yield_to_waiters(self) -> None:
        """Release the lock, let those run who wait for it now, and take it back; return at once where nobody waits.

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
