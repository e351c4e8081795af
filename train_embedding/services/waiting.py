"""A limit on requests that wait for the host's queue, because each of them blocks a thread of the server."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

from train_embedding.errors import Busy
from train_embedding.hosts.base import Host
from train_embedding.messages import msg

MAX_WAITING = 8
"Largest number of waiting requests besides the active one. FastAPI and gradio share 40 threads, and stopping a run needs one."

_places: WeakKeyDictionary[Host, threading.BoundedSemaphore] = WeakKeyDictionary()
_lock = threading.Lock()


@contextmanager
def in_turn(host: Host, job: str) -> Generator[None, None, None]:
    """Wait for the host's queue and hold it until exit, as `Host.exclusive` does.

    Args:
        host: The host.
        job: What the host shows as the current job.

    Raises:
        Busy: MAX_WAITING requests are waiting already.
    """
    with _lock:
        places = _places.setdefault(host, threading.BoundedSemaphore(1 + MAX_WAITING))
    if not places.acquire(blocking=False):
        raise Busy(
            msg("{waiting} other requests are already waiting for the model.", waiting=MAX_WAITING), msg("Try again in a moment.")
        )
    try:
        with host.exclusive(job):
            yield
    finally:
        places.release()
