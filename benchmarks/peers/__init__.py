"""Trainers of textual inversion that are compared: this project, the WebUI, and diffusers' example."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Steps:
    """Measurements of a run."""

    seconds: list[float]
    "Times from the end of a step to the end of the next; the first step, which is slower, is left out."
    cores: float | None
    "CPU time of the process per second of these steps; None if unknown."

    @property
    def processor_seconds(self) -> float | None:
        """CPU time of a step, which other programs on the machine hardly change; None if unknown."""
        return None if self.cores is None else self.cores * sum(self.seconds) / len(self.seconds)


class Trainer(Protocol):
    """A trainer that can be measured."""

    @property
    def name(self) -> str: ...

    def measure(self, steps: int) -> Steps:
        """Train one step and then `steps` more, with batch size 1.

        Raises:
            RuntimeError: The training fails.
        """
        ...
