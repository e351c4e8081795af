"""Who works when."""

from __future__ import annotations

import threading
import time

from train_embedding.hosts.fifo_lock import Turns

PATIENCE = 20.0


def asked(turns: Turns, name: str, order: list[str]) -> threading.Thread:
    """A thread that waits for its turn and notes it; returns once it waits or has worked."""

    def work() -> None:
        with turns.turn():
            order.append(name)

    before = len(turns._tickets)
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    deadline = time.monotonic() + PATIENCE
    while len(turns._tickets) == before and thread.is_alive() and time.monotonic() < deadline:
        time.sleep(0.001)
    return thread


def test_first_come_first_served() -> None:
    turns, order = Turns(), list[str]()
    with turns.turn():
        threads = [asked(turns, name, order) for name in "abcdef"]
        assert order == []
    for thread in threads:
        thread.join(PATIENCE)
    assert order == list("abcdef")


def test_giving_way_lets_those_work_who_wait() -> None:
    turns, order = Turns(), list[str]()
    with turns.turn():
        turns.give_way()
        threads = [asked(turns, name, order) for name in "ab"]
        turns.give_way()
        order.append("me")
        threads += [asked(turns, "c", order)]
        order.append("still me")
    for thread in threads:
        thread.join(PATIENCE)
    assert order == ["a", "b", "me", "still me", "c"]


def test_an_error_ends_the_turn() -> None:
    turns = Turns()
    try:
        with turns.turn():
            raise ValueError
    except ValueError:
        pass
    with turns.turn():
        pass
