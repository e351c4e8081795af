"""Processes that train together, as `accelerate launch` and torchrun start them: the main one asks, the others answer.

They talk over gloo alone, also where each has a GPU of its own: a step exchanges some kilobytes, gloo is there on every system,
and it raises an error as soon as a process dies, after which the main one can still write its result.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, TypeVar

from train_embedding.errors import TrainingFailed

TIMEOUT = timedelta(hours=1)
"Longest wait for a process that lives: more than it takes to encode the pictures or to draw previews."

Answer = TypeVar("Answer")


class Processes:
    """The group as one of its processes sees it. rank: 0 is the main one; count: of all. Made by `joined`."""

    def __init__(self, rank: int = 0, count: int = 1) -> None:
        self.rank = rank
        self.count = count
        self._lock = threading.Lock()

    def ask(self, task: object, compute: Callable[[], Answer]) -> list[Any]:
        """In the main process: has the others do a task while it computes its own answer; all answers, by rank.

        Raises what `compute` raises, once the others have answered, and TrainingFailed where one of them is gone.
        """
        mine: Answer | None = None
        with self._lock:
            self._tell(task)
            try:
                mine = compute()
            finally:
                answers = self._gather(mine)
        return answers

    def serve(self, answer: Callable[[Any], object]) -> None:
        """In the others: answers what the main process asks until that one ends. Raises TrainingFailed where it is gone."""
        while (task := self._tell(None)) is not None:
            self._gather(answer(task))

    def dismiss(self) -> None:
        """In the main process: ends the others' service, once nothing is being asked."""
        with self._lock, suppress(TrainingFailed):  # those who are gone need not be told
            self._tell(None)

    def _tell(self, task: object) -> Any:
        """What the main process says, in all of them."""
        import torch.distributed as dist

        said = [task]
        with _lost_connections():
            dist.broadcast_object_list(said, src=0)
        return said[0]

    def _gather(self, answer: object) -> list[Any]:
        """The answers of all in the main process; nothing in the others."""
        import torch.distributed as dist

        answers: list[Any] = [None] * self.count if self.rank == 0 else []
        with _lost_connections():
            dist.gather_object(answer, answers or None, dst=0)
        return answers


ALONE = Processes()
"What every program is that no launcher started several times; it asks nobody and loads nothing."


def launched(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether a launcher started this process as one of several. environment: as for `joined`."""
    return "RANK" in environment and int(environment.get("WORLD_SIZE", "1")) > 1


@contextmanager
def joined(environment: Mapping[str, str] = os.environ) -> Iterator[Processes]:
    """This process among those that a launcher started with it, until the context ends; at once `ALONE` where there are none.

    environment: RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT, as torchrun sets them. Raises TrainingFailed where the others
    cannot be reached.

    The group is not destroyed: in torch 2.1, that waits for ever for a process that has left it already. It ends with this
    process, which leaves without torch's clean-up (`cli.common.leave`).
    """
    if not launched(environment):
        yield ALONE
        return
    import torch.distributed as dist

    with _lost_connections():
        dist.init_process_group("gloo", timeout=TIMEOUT)
    processes = Processes(dist.get_rank(), dist.get_world_size())
    try:
        yield processes
    finally:
        if processes.rank == 0:
            processes.dismiss()


@contextmanager
def _lost_connections() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # gloo's errors have no kind of their own
        raise TrainingFailed(
            "The connection to another of the processes was lost.",
            "What that one printed last may say why; the run can be resumed.",
        ) from error
