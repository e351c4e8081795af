"""Events of the training loop, for saving, plotting and previews."""

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
    """The model and the images are ready.

    Attributes:
        steps: Last step of the run unless it ends earlier.
        state: State before the next step.
    """

    steps: int
    state: TrainState = field(compare=False)


@dataclass(frozen=True)
class Stepped:
    """An optimizer step is complete.

    Attributes:
        step: Number of the step, from 1.
        rate: Learning rate of the step.
        loss: Mean over the batch, a detached scalar on the training device. Reading it synchronizes with the device.
        state: State after the step. The next step changes it, so copy what you keep.
    """

    step: int
    rate: float
    loss: torch.Tensor
    state: TrainState = field(compare=False)


@dataclass(frozen=True)
class Evaluated:
    """The EMA of the vectors was evaluated, before the first step or after a step."""

    evaluation: Evaluation
    state: TrainState = field(compare=False)


@dataclass(frozen=True)
class Ended:
    """The run has ended.

    Attributes:
        step: Last completed step.
        stopped: Whether the user stopped the run.
        state: State after that step.
    """

    step: int
    stopped: bool
    state: TrainState = field(compare=False)


Event = Started | Stepped | Evaluated | Ended
Listener = Callable[[Event], None]
