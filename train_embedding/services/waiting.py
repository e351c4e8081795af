"""How many requests of people may wait for the host's queue: each keeps a thread of the server, which Stop and polls need too."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

from train_embedding.errors import Busy
from train_embedding.hosts.base import Host

MAX_WAITING = 8
"Besides the one at work. FastAPI and gradio share 40 threads."

_rooms: WeakKeyDictionary[Host, threading.BoundedSemaphore] = WeakKeyDictionary()
_lock = threading.Lock()


@contextmanager
def in_turn(host: Host, job: str) -> Generator[None, None, None]:
    """Waits for the host's queue and holds it, as `Host.exclusive`. Raises Busy at once where MAX_WAITING wait already."""
    with _lock:
        room = _rooms.setdefault(host, threading.BoundedSemaphore(1 + MAX_WAITING))
    if not room.acquire(blocking=False):
        raise Busy(f"{MAX_WAITING} other images or texts are waiting for the model already.", "Try again in a moment.")
    try:
        with host.exclusive(job):
            yield
    finally:
        room.release()
