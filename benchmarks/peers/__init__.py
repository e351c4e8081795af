"""Trainers of textual inversion that are measured beside each other: this project's, the WebUI's, diffusers' example."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Steps:
    """What was measured of one run."""

    seconds: list[float]
    "The time from the end of each step to the end of the next; the first step, which is slower, is left out."
    cores: float | None
    "CPU time per second of these steps, of the process that made them; None where it cannot be told."


class Trainer(Protocol):
    @property
    def name(self) -> str: ...

    def measure(self, steps: int) -> Steps:
        """Trains one step and then `steps` more, at batch 1. Raises RuntimeError where the training fails."""
        ...
