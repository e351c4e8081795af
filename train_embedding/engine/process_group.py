"""The processes of one distributed run, as `accelerate launch` and torchrun start them: the main one sends tasks to the workers.

They communicate over gloo alone, even where each has a GPU of its own: a step exchanges a few kilobytes, gloo is available on
every system, and it raises an error as soon as a process dies, after which the main process can still write its result.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, TypeVar

from train_embedding.errors import TrainingFailed

TIMEOUT = timedelta(hours=1)
"Longest wait for a process that is alive: more than it takes to encode the images or to generate previews."

Answer = TypeVar("Answer")


class Processes:
    """The group as one of its processes sees it, made by `process_group`.

    Args:
        rank: Number of this process; 0 is the main one.
        count: Number of processes in the group.
    """

    def __init__(self, rank: int = 0, count: int = 1) -> None:
        self.rank = rank
        self.count = count
        self._lock = threading.Lock()

    def run(self, task: object, compute: Callable[[], Answer]) -> list[Any]:
        """In the main process, send a task to the workers and compute the main process's own answer meanwhile.

        Returns:
            The answers of all processes, by rank.

        Raises:
            TrainingFailed: A worker is gone.
            Exception: What `compute` raises, once the workers have answered.
        """
        mine: Answer | None = None
        with self._lock:
            self._broadcast(task)
            try:
                mine = compute()
            finally:
                answers = self._gather(mine)
        return answers

    def serve(self, handle: Callable[[Any], object]) -> None:
        """In a worker, handle the main process's tasks until that process ends.

        Raises:
            TrainingFailed: The main process is gone.
        """
        while (task := self._broadcast(None)) is not None:
            self._gather(handle(task))

    def shut_down(self) -> None:
        """In the main process, make `serve` return in every worker, once no task is running."""
        with self._lock, suppress(TrainingFailed):  # a worker that is gone has ended already
            self._broadcast(None)

    def _broadcast(self, task: object) -> Any:
        """Return the main process's task in every process."""
        import torch.distributed as dist

        sent = [task]
        with _translate_connection_errors():
            dist.broadcast_object_list(sent, src=0)
        return sent[0]

    def _gather(self, answer: object) -> list[Any]:
        """Return the answers of all processes in the main one, and an empty list in the workers."""
        import torch.distributed as dist

        answers: list[Any] = [None] * self.count if self.rank == 0 else []
        with _translate_connection_errors():
            dist.gather_object(answer, answers or None, dst=0)
        return answers


SINGLE_PROCESS = Processes()
"The group of a program that no launcher started several times. It never communicates and imports nothing."


def is_distributed(environment: Mapping[str, str] = os.environ) -> bool:
    """Tell whether a launcher started this process as one of several.

    Args:
        environment: As for `process_group`.
    """
    return "RANK" in environment and int(environment.get("WORLD_SIZE", "1")) > 1


@contextmanager
def process_group(environment: Mapping[str, str] = os.environ) -> Generator[Processes, None, None]:
    """Connect this process with those that the launcher started with it; `SINGLE_PROCESS` where there are no others.

    The group is not destroyed at the end of the context: in torch 2.1, that would wait forever for a process that has left
    already. It ends with this process, which exits without torch's clean-up (`cli.common.exit_process`).

    Args:
        environment: RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT, as torchrun sets them.

    Raises:
        TrainingFailed: The other processes cannot be reached.
    """
    if not is_distributed(environment):
        yield SINGLE_PROCESS
        return
    import torch.distributed as dist

    with _translate_connection_errors():
        dist.init_process_group("gloo", timeout=TIMEOUT)
    processes = Processes(dist.get_rank(), dist.get_world_size())
    try:
        yield processes
    finally:
        if processes.rank == 0:
            processes.shut_down()


@contextmanager
def _translate_connection_errors() -> Generator[None, None, None]:
    try:
        yield
    except RuntimeError as error:  # gloo raises no type of its own
        raise TrainingFailed(
            "The connection to another process was lost.",
            "Its last printed lines may say why; the run can be resumed.",
        ) from error
