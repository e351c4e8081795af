"""Runs `engine.self_test` in a child process, and goes on with a new one where a stage crashes or blocks it."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from train_embedding.engine import self_test

STAGE_SECONDS = 180.0
"How long a stage may take. Importing torch for the first time from a slow disk takes about a minute."
NEEDS_TORCH = ("safetensors", "accelerate", "transformers", "diffusers", "torchvision", self_test.DEVICE)
NOT_TRIED = "It was not tried, because torch does not work."
_LAST_LINES = 3


@dataclass(frozen=True)
class StageResult:
    """What a stage of the self-test found."""

    error: str = ""
    "Why it failed, as the package put it; empty if it worked."
    facts: dict[str, Any] = field(default_factory=dict[str, Any])
    tried: bool = True


class Probe:
    """A context in which a child process runs stages, which begin at once; `results` waits for them.

    Args:
        stages: Names of stages, in order.
        seconds: How long a stage may take.
    """

    def __init__(self, stages: Sequence[str], seconds: float = STAGE_SECONDS) -> None:
        self._waiting = list(stages)
        self._seconds = seconds
        self._results: dict[str, StageResult] = {}
        self._child: _Child | None = None

    def __enter__(self) -> Probe:
        self._start()
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        if self._child is not None:
            self._child.stop()

    def results(self) -> dict[str, StageResult]:
        """Wait until all stages have ended, and return what each found."""
        while self._child is not None and self._waiting:
            stage, result = self._child.next_result(self._seconds)
            stage = stage or self._waiting[0]  # in which the child crashed or hangs
            self._record(stage, result)
            if result.error:
                self._child.stop()
                self._start()
        return self._results

    def _start(self) -> None:
        """Start a child for the stages that are left, if any."""
        self._child = None
        if not self._waiting:
            return
        try:
            self._child = _Child(self._waiting)
        except OSError as error:
            self._results |= {stage: StageResult(f"Python could not be started: {error}") for stage in self._waiting}
            self._waiting = []

    def _record(self, stage: str, result: StageResult) -> None:
        self._results[stage] = result
        self._waiting.remove(stage)
        if stage == "torch" and result.error:
            skipped = [name for name in self._waiting if name in NEEDS_TORCH]
            self._results |= {name: StageResult(NOT_TRIED, tried=False) for name in skipped}
            self._waiting = [name for name in self._waiting if name not in skipped]


class _Child:
    """One process of the self-test, and a thread that reads what it prints."""

    def __init__(self, stages: Sequence[str]) -> None:
        quiet = {
            "HF_HUB_OFFLINE": "1",
            "TRANSFORMERS_OFFLINE": "1",
            "GRADIO_ANALYTICS_ENABLED": "False",
            "PYTHONIOENCODING": "utf-8",
        }
        self._process = subprocess.Popen(
            [sys.executable or "python", str(Path(self_test.__file__).resolve()), *stages],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **quiet},
            text=True,
            encoding="utf-8",
            errors="replace",
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._other: deque[str] = deque(maxlen=_LAST_LINES)
        self._left = set(stages)
        threading.Thread(target=self._read, daemon=True).start()

    def next_result(self, seconds: float) -> tuple[str, StageResult]:
        """Return the next stage that ended with its result; if the process ended, or the time is over, "" and why."""
        while True:
            try:
                line = self._lines.get(timeout=seconds)
            except queue.Empty:
                return "", StageResult(f"It did not answer within {seconds:.0f} seconds.")
            if line is None:
                return "", StageResult(self._how_it_ended())
            if not line.startswith(self_test.MARK):
                self._other.append(line.strip())
                continue
            values = json.loads(line.removeprefix(self_test.MARK))
            if values.get("end") in self._left:
                self._left.remove(values["end"])
                return values["end"], StageResult(values["error"], values.get("facts", {}))

    def stop(self) -> None:
        """End the process if it still runs."""
        self._process.kill()
        self._process.wait()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for line in output:
                self._lines.put(line)
        self._lines.put(None)

    def _how_it_ended(self) -> str:
        code = self._process.wait()
        try:
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        except ValueError:
            how = f"signal {-code}"
        last = " ".join(filter(None, self._other))
        return f"It crashed Python ({how}). {last}".strip()
