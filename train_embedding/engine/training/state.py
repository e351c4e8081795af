"""What a training run carries from step to step; with it saved, a run goes on as if it had never been interrupted."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.optim import Optimizer

from train_embedding.engine.config.spec import ResolvedSpec
from train_embedding.engine.devices import as_float64
from train_embedding.engine.runtime.precision import LossScale
from train_embedding.engine.training.early_stopping import Evaluation, Verdict, best_evaluation, scores
from train_embedding.engine.training.optimizers import make_optimizer
from train_embedding.errors import TrainingFailed

VectorTables = dict[str, torch.Tensor]
"Vectors per text encoder, fp32 [n, d]."
MAX_KEPT = 64
"So many evaluations keep their vectors, step 0 and the best scores; `best_evaluation` chooses among those."


@dataclass
class TrainState:
    """All randomness is a function of the seed and the step, so no generator is part of it.

    vectors: leaves with requires_grad where they are trained, on the training device. average: their running average.
    evaluations: of the average, from step 0 on. kept: the averages that may still be chosen, by step, on the CPU.
    """

    vectors: VectorTables
    optimizer: Optimizer
    average: VectorTables
    scale: LossScale
    step: int = 0
    ending: int | None = None
    "The last step, once early stopping has set it."
    verdict: Verdict = Verdict.UNDECIDED
    evaluations: list[Evaluation] = field(default_factory=list)
    kept: dict[int, VectorTables] = field(default_factory=dict)

    def trainable(self) -> list[torch.Tensor]:
        return [tensor for tensor in self.vectors.values() if tensor.requires_grad]

    @property
    def evaluated(self) -> bool:
        """Whether the vectors of this step have been evaluated."""
        return bool(self.evaluations) and self.evaluations[-1].step == self.step

    @torch.no_grad()
    def update_average(self, decay: float) -> None:
        """Moves the average towards the vectors. decay: 0 for no averaging."""
        for key, tensor in self.vectors.items():
            self.average[key].lerp_(tensor.detach(), 1 - decay)

    def record(self, losses: torch.Tensor) -> Evaluation:
        """Adds the evaluation of this step and keeps the average it belongs to. losses: [N], on any device.

        Raises TrainingFailed at NaN or infinity.
        """
        evaluation = Evaluation(self.step, as_float64(losses.detach()).cpu())
        if not bool(torch.isfinite(evaluation.losses).all()):
            raise non_finite_loss(self.step)
        self.evaluations.append(evaluation)
        self.kept[self.step] = {key: tensor.detach().cpu().clone() for key, tensor in self.average.items()}
        if len(self.kept) > MAX_KEPT:
            by_step = dict(zip((one.step for one in self.evaluations), scores(self.evaluations), strict=True))
            del self.kept[max(filter(None, self.kept), key=by_step.__getitem__)]
        return evaluation

    def apply_verdict(self, verdict: Verdict, cooldown: int) -> None:
        """Set the run's last step: `cooldown` steps from now for a run that converged, this one for a run that does not learn."""
        if verdict is not Verdict.UNDECIDED:
            self.verdict = verdict
            self.ending = self.step + (cooldown if verdict is Verdict.CONVERGED else 0)

    def best_vectors(self, after: int = -1) -> tuple[int, VectorTables]:
        """The step and the vectors of the best evaluation among those of later steps than `after`; step 0 is the start."""
        step = self.evaluations[best_evaluation(self.evaluations, after)].step
        available = min((kept for kept in self.kept if kept >= step), default=max(self.kept))
        return available, self.kept[available]

    def relative_change(self) -> float:
        """How far the average has moved from the first evaluation's, as a part of that one's norm."""
        start = torch.cat([tensor.flatten() for tensor in self.kept[0].values()])
        now = torch.cat([self.average[key].detach().flatten().cpu() for key in self.kept[0]])
        return float((now - start).norm() / start.norm().clamp(min=1e-8))

    def to_saved(self) -> dict[str, Any]:
        """Copies, as tensors and plain values; `load` of a new state takes them back."""
        return {
            "step": self.step,
            "ending": self.ending,
            "verdict": self.verdict.value,
            "vectors": {key: tensor.detach().cpu().clone() for key, tensor in self.vectors.items()},
            "average": {key: tensor.cpu().clone() for key, tensor in self.average.items()},
            "optimizer": copy.deepcopy(self.optimizer.state_dict()),
            "evaluations": [(one.step, one.losses) for one in self.evaluations],
            "kept": dict(self.kept),
            "scale": self.scale.values(),
        }

    @torch.no_grad()
    def load(self, saved: Mapping[str, Any]) -> None:
        """Takes what `to_saved` gave. Raises KeyError, TypeError, ValueError or RuntimeError for what does not fit."""
        for key, tensor in self.vectors.items():
            tensor.copy_(saved["vectors"][key])
            self.average[key].copy_(saved["average"][key])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.step, self.ending = int(saved["step"]), saved["ending"]
        self.verdict = Verdict(saved["verdict"])
        self.evaluations = [Evaluation(int(step), losses) for step, losses in saved["evaluations"]]
        self.kept = {int(step): dict(kept) for step, kept in saved["kept"].items()}
        if "scale" in saved:  # which earlier versions did not have
            self.scale.load(saved["scale"])


def new_state(
    start: Mapping[str, torch.Tensor], resolved: ResolvedSpec, device: torch.device, *, scales_loss: bool = False
) -> TrainState:
    """Make the state before the first step.

    Args:
        start: Vectors [n, d] per text encoder, copied.
        scales_loss: Whether gradients pass through fp16, as `passes_fp16` finds for the model.

    Raises:
        InvalidSpec: The optimizer is not installed, or no text encoder of the model is to be trained.
    """
    spec = resolved.spec
    vectors = {key: tensor.to(device, torch.float32, copy=True) for key, tensor in start.items()}
    trained = [vectors[key].requires_grad_() for key in spec.trained_encoders(vectors)]
    average = {key: tensor.detach().clone() for key, tensor in vectors.items()}
    optimizer = make_optimizer(spec.optimizer, trained, resolved.rate(1, resolved.steps))
    return TrainState(vectors, optimizer, average, LossScale(device, scales_loss))


def non_finite_loss(step: int) -> TrainingFailed:
    return TrainingFailed(
        f"The loss became NaN or infinite at step {step}.",
        "Try a lower learning rate; on a GPU without full precision, start the host with --no-half.",
    )
