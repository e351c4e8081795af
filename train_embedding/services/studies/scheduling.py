"""Gives the runs of a study to workers until all have ended, and workers in this process."""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Protocol

from train_embedding.messages import Message, msg
from train_embedding.services.studies.carrying_out import OpenHost, carry_out
from train_embedding.services.studies.plan import PlannedRun
from train_embedding.services.studies.results import Results, RunProgress, RunResult

MAX_LOSSES = 3
"A run during which so many workers have died is not tried again: it may be what kills them."
TICK = 0.5
"Seconds between two updates of what is shown."

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ended:
    """A run that a worker no longer works on."""

    run_id: str
    lost: bool = False
    "Whether its worker has died; the run can be continued from where it was last saved."


class Workers(Protocol):
    """What carries out runs: this process, or a cluster."""

    def free(self) -> int:
        """Return how many runs can be begun now."""
        ...

    def begin(self, run: PlannedRun, place: str) -> None:
        """Begin a run in the folder at a path or address; there must be a free worker."""
        ...

    def wait(self, seconds: float) -> list[Ended]:
        """Return the runs that have ended, after waiting at most so long for one."""
        ...

    def stop(self) -> None:
        """Let all runs end after their current steps."""
        ...

    def close(self) -> None:
        """Release what the workers hold."""
        ...


def carry_out_study(
    results: Results,
    workers: Workers,
    show: Callable[[list[RunProgress]], object] = lambda _: None,
    stopping: Callable[[], bool] = lambda: False,
) -> list[RunProgress]:
    """Carry out the runs of a study that have not finished, and collect their embeddings.

    Args:
        results: Where they go; to be held by the caller.
        workers: Carry out the runs.
        show: Is called with the progress of all runs, about twice a second and when runs begin.
        stopping: Returns whether to begin no more runs and to end the current ones.

    Returns:
        What each run of the study has come to.

    Raises:
        StorageFailed: The results cannot be read or written.
    """
    waiting = deque(results.unfinished())
    running: dict[str, PlannedRun] = {}
    losses: Counter[str] = Counter()
    stopped = False
    while running or waiting:
        if stopping() and not stopped:
            stopped = True
            workers.stop()
        if stopped:
            waiting.clear()
        if waiting and workers.free():
            while waiting and workers.free():
                run = waiting.popleft()
                running[run.id] = run
                workers.begin(run, results.run_place(run))
            show(results.progress(frozenset(running)))
        for ended in workers.wait(TICK):
            run = running.pop(ended.run_id)
            results.forget(run)
            losses[run.id] += ended.lost
            if not ended.lost:
                results.collect(run)
            elif losses[run.id] < MAX_LOSSES:
                waiting.appendleft(run)
            else:
                results.give_up(run, _lost(losses[run.id]))
        show(results.progress(frozenset(running)))
    return results.progress()


class ThisProcess:
    """Carries out one run at a time, in a thread of this process.

    Args:
        open_host: Opens the host of each run.
        threads: Number of threads of a run; None for torch's default.
    """

    def __init__(self, open_host: OpenHost, threads: int | None = None) -> None:
        if threads:
            import torch

            torch.set_num_threads(threads)
        self._open_host = open_host
        self._pool = ThreadPoolExecutor(1, "study")
        self._stop = threading.Event()
        self._current: tuple[str, Future[RunResult]] | None = None

    def free(self) -> int:
        return int(self._current is None)

    def begin(self, run: PlannedRun, place: str) -> None:
        self._current = run.id, self._pool.submit(carry_out, run, place, self._open_host, self._stop.is_set)

    def wait(self, seconds: float) -> list[Ended]:
        if self._current is None:
            return []
        run_id, future = self._current
        if not wait([future], seconds, FIRST_COMPLETED).done:
            return []
        self._current = None
        future.result()
        return [Ended(run_id)]

    def stop(self) -> None:
        self._stop.set()

    def close(self) -> None:
        self._pool.shutdown()


def _lost(times: int) -> RunResult:
    sentence: Message = msg("The run was given up after {times} workers died while they carried it out.", times=times)
    return RunResult("failed", error=sentence)
