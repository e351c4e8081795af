"""Events of the training loop, to which saving, plotting and previews listen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from train_embedding.engine.training.early_stopping import Evaluation
    from train_embedding.engine.training.state import TrainState


@dataclass(frozen=True)
class Started:
    """Model and images are ready; the next step follows."""

    steps: int
    "Last step of the run, unless it ends earlier."
    state: TrainState = field(compare=False)


@dataclass(frozen=True)
class Stepped:
    """One optimizer step is done."""

    step: int
    rate: float
    loss: torch.Tensor
    "Mean over the batch, a detached scalar on the training device; reading it waits for the device."
    state: TrainState = field(compare=False)
    "After the step. It changes with the next one: copy what you keep."


@dataclass(frozen=True)
class Evaluated:
    """The EMA of the vectors was evaluated, before the first step or after one."""

    evaluation: Evaluation
    state: TrainState = field(compare=False)


@dataclass(frozen=True)
class Ended:
    """No further step follows."""

    step: int
    "The last one that was made."
    stopped: bool
    "Whether the user stopped the run."
    state: TrainState = field(compare=False)


Event = Started | Stepped | Evaluated | Ended
Listener = Callable[[Event], None]
