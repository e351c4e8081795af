"""The queue of a host that has none of its own: whoever asks first works first."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """One at a time, in the order of asking. Not re-entrant."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._tickets: deque[object] = deque()
        "The first one's owner works; the others wait."

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Waits for its turn and holds it."""
        ticket = object()
        self._wait_as(ticket)
        try:
            yield
        finally:
            with self._changed:
                self._tickets.popleft()
                self._changed.notify_all()

    def others_wait(self) -> bool:
        with self._changed:
            return len(self._tickets) > 1

    def give_way(self) -> None:
        """For the one whose turn it is: lets those work who wait now, then goes on. At once where nobody waits."""
        with self._changed:
            if len(self._tickets) < 2:
                return
            ticket = self._tickets.popleft()
            self._changed.notify_all()
        self._wait_as(ticket)

    def _wait_as(self, ticket: object) -> None:
        with self._changed:
            self._tickets.append(ticket)
            self._changed.wait_for(lambda: self._tickets[0] is ticket)
