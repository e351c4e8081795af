"""Processes that train together, in tests: simulated in one process, and real ones."""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from train_embedding.engine.model.diffusion_model import DiffusionModel
from train_embedding.engine.process_group import Processes
from train_embedding.engine.training.data_parallel import Worker

ROOT = Path(__file__).parents[1]
PATIENCE = 180.0
"Seconds to wait for processes; they take about ten on an idle machine."


class SimulatedProcesses(Processes):
    """The main process with workers that answer one after the other, over the same model, in the calling thread.

    Tasks and answers are pickled, as between real processes. tasks: all so far.
    """

    def __init__(self, model: DiffusionModel, count: int) -> None:
        super().__init__(0, count)
        self.workers = [Worker(Processes(rank, count), model) for rank in range(1, count)]
        self.tasks: list[Any] = []

    def run(self, task: object, compute: Callable[[], Any]) -> list[Any]:
        self.tasks.append(task)
        answers = [pickle.loads(pickle.dumps(worker.handle(pickle.loads(pickle.dumps(task))))) for worker in self.workers]
        return [compute(), *answers]


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


def environment(**values: str) -> dict[str, str]:
    """Of this process, without what a launcher has said to it; one thread each, so that sums are alike."""
    kept = {key: value for key, value in os.environ.items() if key not in ("RANK", "LOCAL_RANK", "WORLD_SIZE")}
    return {**kept, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **values}


def start_all(count: int, arguments: list[str], **options: Any) -> list[subprocess.Popen[str]]:
    """Starts `count` Pythons that find each other as a launcher's processes do, without the launcher. To be `ended`."""
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(count)}
    return [
        subprocess.Popen(
            [sys.executable, *arguments],
            env=environment(**address, RANK=str(rank), LOCAL_RANK=str(rank)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )
        for rank in range(count)
    ]


def ended(started: list[subprocess.Popen[str]]) -> list[tuple[int, str, str]]:
    """Exit code, output and errors of each; none is left over, whatever happens."""
    try:
        outputs = [one.communicate(timeout=PATIENCE) for one in started]
    finally:
        for one in started:
            one.kill()
    return [(one.returncode, *output) for one, output in zip(started, outputs, strict=True)]
