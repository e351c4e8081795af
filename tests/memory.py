"""How much memory and time a function takes, in a process of its own: `python -m tests.memory MODULE FUNCTION ARGUMENT…`."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
MOST, PATIENCE = 256, 4.0
"MB that a file may take, and seconds: twice what it may, since a test shares its machine."


@dataclass(frozen=True)
class Taken:
    """memory: MB beyond what the process had before. seconds: of the processor. answer: what the function returned."""

    memory: float
    seconds: float
    answer: str


def taken_by(function: Callable[..., str], *arguments: object) -> Taken:
    """function: at the top of its module, which the process imports; it gets the arguments as texts."""
    asked = [function.__module__, function.__qualname__, *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.memory", *asked], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return Taken(**json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    import resource

    if os.fork():  # a program begins with the peak of the process that started it; one that is forked with what it holds
        sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
    module, function, *arguments = sys.argv[1:]
    called = getattr(importlib.import_module(module), function)

    def peak() -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)

    before, start = peak(), time.process_time()
    answer = called(*arguments)
    print(json.dumps({"memory": peak() - before, "seconds": time.process_time() - start, "answer": answer}))


if __name__ == "__main__":
    main()
