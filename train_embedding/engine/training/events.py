"""What the training loop announces; saving, plotting and previews listen."""

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
    """The model and the images are ready; the next step comes. steps: the run's last one, unless it ends sooner."""

    steps: int
    state: TrainState = field(compare=False)


@dataclass(frozen=True)
class Stepped:
    """One optimizer step is done."""

    step: int
    rate: float
    loss: torch.Tensor
    "Mean over the batch, a detached scalar on the training device: reading it waits for the device."
    state: TrainState = field(compare=False)
    "After the step: the live one, to be copied by whoever keeps something of it."


@dataclass(frozen=True)
class Evaluated:
    """The fixed items were evaluated for the running average, before the first step or after one."""

    evaluation: Evaluation
    state: TrainState = field(compare=False)


@dataclass(frozen=True)
class Ended:
    """No further step will come. step: the last one done; stopped: whether somebody asked for the end."""

    step: int
    stopped: bool
    state: TrainState = field(compare=False)


Event = Started | Stepped | Evaluated | Ended
Listener = Callable[[Event], None]
