"""The state of a training run between steps; a run that resumes from it is bit-identical to an uninterrupted one."""

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
"How many evaluations keep their vectors: step 0 and those with the best scores."


@dataclass
class TrainState:
    """Everything that the next step depends on besides the options.

    Randomness is a function of the seed and the step, so no generator is part of it.
    """

    vectors: VectorTables
    "Leaves on the training device, which require gradients where they are trained."
    optimizer: Optimizer
    ema: VectorTables
    "Exponential moving average of the vectors, which is evaluated and saved."
    scale: LossScale
    step: int = 0
    ending: int | None = None
    "The last step, once early stopping has set it."
    verdict: Verdict = Verdict.UNDECIDED
    evaluations: list[Evaluation] = field(default_factory=list[Evaluation])
    "Of the EMA, from step 0 on."
    kept: dict[int, VectorTables] = field(default_factory=dict[int, VectorTables])
    "By step, on the CPU, the EMAs that may still be chosen at the end."

    def trainable(self) -> list[torch.Tensor]:
        """Return the vectors that require gradients."""
        return [tensor for tensor in self.vectors.values() if tensor.requires_grad]

    @property
    def evaluated(self) -> bool:
        """Whether the vectors of this step have been evaluated."""
        return bool(self.evaluations) and self.evaluations[-1].step == self.step

    @torch.no_grad()
    def update_ema(self, decay: float) -> None:
        """Move the EMA towards the vectors; with a decay of 0 it is the vectors."""
        for key, tensor in self.vectors.items():
            self.ema[key].lerp_(tensor.detach(), 1 - decay)

    def record(self, losses: torch.Tensor) -> Evaluation:
        """Record the evaluation of this step, and keep the EMA it belongs to.

        Args:
            losses: [N], on any device.

        Raises:
            TrainingFailed: A loss is NaN or infinite.
        """
        evaluation = Evaluation(self.step, as_float64(losses.detach()).cpu())
        if not bool(torch.isfinite(evaluation.losses).all()):
            raise non_finite_loss(self.step)
        self.evaluations.append(evaluation)
        self.kept[self.step] = {key: tensor.detach().cpu().clone() for key, tensor in self.ema.items()}
        if len(self.kept) > MAX_KEPT:
            steps = (evaluation.step for evaluation in self.evaluations)
            by_step = dict(zip(steps, scores(self.evaluations), strict=True))
            del self.kept[max(filter(None, self.kept), key=by_step.__getitem__)]
        return evaluation

    def apply_verdict(self, verdict: Verdict, cooldown: int) -> None:
        """Set the run's last step: `cooldown` steps from now for a run that converged, this one for a run that does not learn."""
        if verdict is not Verdict.UNDECIDED:
            self.verdict = verdict
            self.ending = self.step + (cooldown if verdict is Verdict.CONVERGED else 0)

    def best_vectors(self, after: int = -1) -> tuple[int, VectorTables]:
        """Return the step and the vectors of the best evaluation after step `after`; step 0 is the start."""
        step = self.evaluations[best_evaluation(self.evaluations, after)].step
        available = min((kept for kept in self.kept if kept >= step), default=max(self.kept))
        return available, self.kept[available]

    def relative_change(self) -> float:
        """Measure how far the EMA is from that of the first evaluation, as a fraction of the latter's norm."""
        start = torch.cat([tensor.flatten() for tensor in self.kept[0].values()])
        now = torch.cat([self.ema[key].detach().flatten().cpu() for key in self.kept[0]])
        return float((now - start).square().sum().sqrt() / start.square().sum().sqrt().clamp(min=1e-8))

    def to_saved(self) -> dict[str, Any]:
        """Copy the state to tensors and plain values, which `load` of a new state takes."""
        return {
            "step": self.step,
            "ending": self.ending,
            "verdict": self.verdict.value,
            "vectors": {key: tensor.detach().cpu().clone() for key, tensor in self.vectors.items()},
            "average": {key: tensor.cpu().clone() for key, tensor in self.ema.items()},
            "optimizer": copy.deepcopy(self.optimizer.state_dict()),
            "evaluations": [(evaluation.step, evaluation.losses) for evaluation in self.evaluations],
            "kept": dict(self.kept),
            "scale": self.scale.values(),
        }

    @torch.no_grad()
    def load(self, saved: Mapping[str, Any]) -> None:
        """Restore what `to_saved` returned.

        Raises:
            KeyError, TypeError, ValueError, RuntimeError: The values do not fit this state.
        """
        for key, tensor in self.vectors.items():
            tensor.copy_(saved["vectors"][key])
            self.ema[key].copy_(saved["average"][key])
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
        resolved: The options of the run.
        device: Where the vectors are trained.
        scales_loss: Whether gradients pass through fp16, as `uses_fp16_gradients` finds for the model.

    Raises:
        InvalidSpec: The optimizer is not installed, or no text encoder of the model is to be trained.
    """
    spec = resolved.spec
    vectors = {key: tensor.to(device, torch.float32, copy=True) for key, tensor in start.items()}
    trained = [vectors[key].requires_grad_() for key in spec.trained_encoders(vectors)]
    ema = {key: tensor.detach().clone() for key, tensor in vectors.items()}
    optimizer = make_optimizer(spec.optimizer, trained, resolved.rate(1, resolved.steps))
    return TrainState(vectors, optimizer, ema, LossScale(device, scales_loss))


def non_finite_loss(step: int) -> TrainingFailed:
    """Make the error for a loss that is NaN or infinite."""
    return TrainingFailed(
        f"The loss became NaN or infinite at step {step}.",
        "Try a lower learning rate; on a GPU without full precision, start the host with --no-half.",
    )
