"""What the training loop announces; saving, plotting and previews listen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Started:
    """The model and the pictures are ready; the first step comes next."""

    steps: int


@dataclass(frozen=True)
class Stepped:
    """One optimizer step is done."""

    step: int
    rate: float
    loss: torch.Tensor
    "Mean over the batch, a detached scalar on the training device: reading it waits for the device."
    vectors: dict[str, torch.Tensor]
    "The vectors being trained, [n, d] per text encoder: the live leaves, to be copied by whoever keeps them."


@dataclass(frozen=True)
class Saved:
    """A snapshot stands complete under its name."""

    step: int
    file: Path


@dataclass(frozen=True)
class Previewed:
    step: int
    file: Path


@dataclass(frozen=True)
class Ended:
    """No further step will come. step: the last one done; stopped: whether somebody asked for the end."""

    step: int
    stopped: bool


Event = Started | Stepped | Saved | Previewed | Ended
Listener = Callable[[Event], None]
