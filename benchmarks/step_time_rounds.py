"""A round of `benchmarks.step_time`: the steps of each trainer in turn, and the speed of a matrix product."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.peers import Trainer
from benchmarks.step_time_report import Round

SIDE = 4096
"Side of the square matrices; their product takes 137 GFLOP."
TRIES = 5


def measure(trainers: Sequence[Trainer], steps: int) -> Round:
    """Measure a round."""
    load = os.getloadavg()[0]
    products = matmul_gflops()
    taken = {trainer.name: trainer.measure(steps) for trainer in trainers}
    return Round(load_before=load, matmul_gflops=products, steps=taken)


@torch.no_grad()
def matmul_gflops() -> list[float]:
    """Return the speeds of some products of square fp32 matrices, after one for warm-up."""
    left, right = (torch.randn(SIDE, SIDE, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    product = left @ right
    speeds: list[float] = []
    for _ in range(TRIES):
        began = time.perf_counter()
        torch.mm(left, right, out=product)
        speeds.append(2 * SIDE**3 / (time.perf_counter() - began) / 1e9)
    return speeds


def machine() -> dict[str, Any]:
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }


def _cpu_name() -> str:
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text().splitlines() if listed.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor())
