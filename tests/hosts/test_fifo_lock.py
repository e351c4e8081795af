"""Who works when."""

from __future__ import annotations

import threading
import time

from train_embedding.hosts.fifo_lock import FifoLock

PATIENCE = 20.0


def asked(lock: FifoLock, name: str, order: list[str]) -> threading.Thread:
    """A thread that waits for its turn and notes it; returns once it waits or has worked."""

    def work() -> None:
        with lock.hold():
            order.append(name)

    before = len(lock._tickets)
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    deadline = time.monotonic() + PATIENCE
    while len(lock._tickets) == before and thread.is_alive() and time.monotonic() < deadline:
        time.sleep(0.001)
    return thread


def test_first_come_first_served() -> None:
    lock, order = FifoLock(), list[str]()
    with lock.hold():
        threads = [asked(lock, name, order) for name in "abcdef"]
        assert order == []
    for thread in threads:
        thread.join(PATIENCE)
    assert order == list("abcdef")


def test_giving_way_lets_those_work_who_wait() -> None:
    lock, order = FifoLock(), list[str]()
    with lock.hold():
        lock.yield_to_waiters()
        threads = [asked(lock, name, order) for name in "ab"]
        lock.yield_to_waiters()
        order.append("me")
        threads += [asked(lock, "c", order)]
        order.append("still me")
    for thread in threads:
        thread.join(PATIENCE)
    assert order == ["a", "b", "me", "still me", "c"]


def test_an_error_ends_the_turn() -> None:
    lock = FifoLock()
    try:
        with lock.hold():
            raise ValueError
    except ValueError:
        pass
    with lock.hold():
        pass
