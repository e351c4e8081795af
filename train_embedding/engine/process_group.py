"""Processes of a distributed run, started by `accelerate launch` or torchrun: the main process sends tasks to the workers.

They communicate over gloo, even if each has its own GPU: a step exchanges a few kilobytes, gloo is available on every system, and
it raises an error as soon as a process dies, so that the main process can still save its result.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, TypeVar

from train_embedding.errors import TrainingFailed
from train_embedding.messages import msg

TIMEOUT = timedelta(hours=1)
"Longest wait for another process: more than encoding the images or generating previews takes."

Answer = TypeVar("Answer")


class Processes:
    """This process as a member of its group, made by `process_group`.

    Args:
        rank: Number of this process; 0 is the main process.
        count: Number of processes in the group.
    """

    def __init__(self, rank: int = 0, count: int = 1) -> None:
        self.rank = rank
        self.count = count
        self._lock = threading.Lock()

    def run(self, task: object, compute: Callable[[], Answer]) -> list[Any]:
        """Send a task to the workers and compute the answer of the main process meanwhile. Main process only.

        Args:
            task: Task for the workers.
            compute: Computes the answer of the main process.

        Returns:
            The answers of all processes, by rank.

        Raises:
            TrainingFailed: A worker has ended.
            Exception: The error of `compute`, after all workers have answered.
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
        """Handle tasks of the main process until it shuts down. Workers only.

        Raises:
            TrainingFailed: The main process has ended unexpectedly.
        """
        while (task := self._broadcast(None)) is not None:
            self._gather(handle(task))

    def shut_down(self) -> None:
        """Wait for a running task, then make `serve` return in every worker. Main process only."""
        with self._lock, suppress(TrainingFailed):  # a worker that is lost has ended already
            self._broadcast(None)

    def _broadcast(self, task: object) -> Any:
        """Send the task of the main process to all processes, and return it."""
        import torch.distributed as dist

        sent = [task]
        with _translate_connection_errors():
            dist.broadcast_object_list(sent, src=0)
        return sent[0]

    def _gather(self, answer: object) -> list[Any]:
        """Return the answers of all processes in the main process, and an empty list in the workers."""
        import torch.distributed as dist

        answers: list[Any] = [None] * self.count if self.rank == 0 else []
        with _translate_connection_errors():
            dist.gather_object(answer, answers or None, dst=0)
        return answers


SINGLE_PROCESS = Processes()
"The group of a single process. It never communicates and imports nothing."


def is_distributed(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether a launcher started this process together with others.

    Args:
        environment: As for `process_group`.
    """
    return "RANK" in environment and int(environment.get("WORLD_SIZE", "1")) > 1


@contextmanager
def process_group(environment: Mapping[str, str] = os.environ) -> Generator[Processes, None, None]:
    """Connect this process to the others that the launcher started; `SINGLE_PROCESS` if there are none.

    The group is not destroyed at the end of the context: in torch 2.1, that would wait forever for a process that has already
    ended. The group ends with this process, which exits without torch's clean-up (`cli.common.exit_process`).

    Args:
        environment: Environment variables with RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT, as set by torchrun.

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
    except RuntimeError as error:  # gloo has no error class
        raise TrainingFailed(
            msg("The connection to another process was lost."),
            msg("See the last lines that it printed. You can resume the run."),
        ) from error
