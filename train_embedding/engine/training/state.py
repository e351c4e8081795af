"""The state of a training run between two steps. A run resumed from it is bit-identical to an uninterrupted run."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.optim import Optimizer

from train_embedding.engine.config.spec import ResolvedSpec, label_of
from train_embedding.engine.devices import as_float64
from train_embedding.engine.runtime.precision import LossScale
from train_embedding.engine.training.early_stopping import Evaluation, Verdict, best_evaluation, scores
from train_embedding.engine.training.optimizers import make_optimizer
from train_embedding.errors import InvalidSpec, TrainingFailed
from train_embedding.messages import msg

VectorTables = dict[str, torch.Tensor]
"Vectors per text encoder, fp32 [n, d]."
MAX_KEPT = 64
"Largest number of evaluations whose vectors are kept: step 0 and those with the best scores."


@dataclass
class TrainState:
    """Everything that the next step depends on, except the options.

    Randomness is a function of the seed and the step, so that no random generator is part of the state.

    Attributes:
        vectors: Leaf tensors on the training device. Those that are trained require gradients.
        optimizer: Optimizer of the trained vectors.
        ema: Exponential moving average of the vectors, which is evaluated and saved.
        scale: Loss scaling for fp16.
        step: Number of steps so far.
        ending: Last step of the run, once early stopping has set it.
        extensions: How often the budget of steps has been doubled.
        verdict: Result of early stopping.
        evaluations: Evaluations of the EMA, from step 0 on.
        kept: EMAs by step, on the CPU, which may become the result of the run.
    """

    vectors: VectorTables
    optimizer: Optimizer
    ema: VectorTables
    scale: LossScale
    step: int = 0
    ending: int | None = None
    extensions: int = 0
    verdict: Verdict = Verdict.UNDECIDED
    evaluations: list[Evaluation] = field(default_factory=list[Evaluation])
    kept: dict[int, VectorTables] = field(default_factory=dict[int, VectorTables])

    def trainable(self) -> list[torch.Tensor]:
        """Return the vectors that require gradients."""
        return [tensor for tensor in self.vectors.values() if tensor.requires_grad]

    @property
    def evaluated(self) -> bool:
        """Whether this step has been evaluated."""
        return bool(self.evaluations) and self.evaluations[-1].step == self.step

    @torch.no_grad()
    def update_ema(self, decay: float) -> None:
        """Update the EMA: decay · EMA + (1 − decay) · vectors.

        At the start of a run the decay is smaller, (1 + step) / (10 + step), so that the EMA does not keep the start for long.
        """
        decay = min(decay, (2 + self.step) / (11 + self.step))
        for key, tensor in self.vectors.items():
            self.ema[key].lerp_(tensor.detach(), 1 - decay)

    def record(self, losses: torch.Tensor) -> Evaluation:
        """Record the evaluation of this step, and keep a copy of the EMA.

        Args:
            losses: Evaluation losses [N], on any device.

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
            del self.kept[max(sorted(self.kept)[1:-1], key=by_step.__getitem__)]
        return evaluation

    def apply_verdict(self, verdict: Verdict, cooldown: int) -> None:
        """Set the last step of the run: `cooldown` steps from now if it has converged, the current step if it does not learn."""
        if verdict is not Verdict.UNDECIDED:
            self.verdict = verdict
            self.ending = self.step + (cooldown if verdict is Verdict.CONVERGED else 0)

    def best_vectors(self, after: int = -1) -> tuple[int, VectorTables]:
        """Return the step and the vectors of the best evaluation after step `after`. Step 0 is the start."""
        step = self.evaluations[best_evaluation(self.evaluations, after)].step
        available = min((kept for kept in self.kept if kept >= step), default=max(self.kept))
        return available, self.kept[available]

    def relative_change(self) -> float:
        """Return the distance between the current EMA and that of the first evaluation, relative to the norm of the first."""
        start = torch.cat([tensor.flatten() for tensor in self.kept[0].values()])
        now = torch.cat([self.ema[key].detach().flatten().cpu() for key in self.kept[0]])
        return float((now - start).square().sum().sqrt() / start.square().sum().sqrt().clamp(min=1e-8))

    def to_saved(self) -> dict[str, Any]:
        """Return a copy of the state as tensors and plain values for `load`."""
        return {
            "step": self.step,
            "ending": self.ending,
            "extensions": self.extensions,
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
        """Restore the state from the result of `to_saved`.

        Raises:
            KeyError, TypeError, ValueError, RuntimeError: The values do not fit this state.
        """
        for key, tensor in self.vectors.items():
            tensor.copy_(saved["vectors"][key])
            self.ema[key].copy_(saved["average"][key])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.step, self.ending = int(saved["step"]), saved["ending"]
        self.extensions = int(saved.get("extensions", 0))  # missing in earlier versions
        self.verdict = Verdict(saved["verdict"])
        self.evaluations = [Evaluation(int(step), losses) for step, losses in saved["evaluations"]]
        self.kept = {int(step): dict(kept) for step, kept in saved["kept"].items()}
        if "scale" in saved:  # missing in earlier versions
            self.scale.load(saved["scale"])


def new_state(
    start: Mapping[str, torch.Tensor], resolved: ResolvedSpec, device: torch.device, *, scales_loss: bool = False
) -> TrainState:
    """Make the state before the first step.

    Args:
        start: Vectors [n, d] per text encoder, which are copied.
        resolved: The options of the run.
        device: Device on which the vectors are trained.
        scales_loss: Whether to scale the loss; see `uses_fp16_gradients`.

    Raises:
        InvalidSpec: The optimizer is not installed, or it cannot train vectors of zeros, or the checkpoint does not have the text
            encoder to train.
    """
    spec = resolved.spec
    if spec.optimizer == "direction" and not all(bool(start[key].any(1).all()) for key in spec.trained_encoders(start)):
        raise InvalidSpec(
            msg("The embedding has vectors of zeros, which the optimizer Direction cannot turn."),
            msg(
                'Create the embedding with an initialization text, add "{option}", or choose another optimizer.',
                option=label_of("candidates"),
            ),
        )
    vectors = {key: tensor.to(device, torch.float32, copy=True) for key, tensor in start.items()}
    trained = [vectors[key].requires_grad_() for key in spec.trained_encoders(vectors)]
    ema = {key: tensor.detach().clone() for key, tensor in vectors.items()}
    optimizer = make_optimizer(spec.optimizer, trained, resolved.rate(1, resolved.steps, 0))
    return TrainState(vectors, optimizer, ema, LossScale(device, scales_loss))


def non_finite_loss(step: int) -> TrainingFailed:
    """Make the error for a loss that is NaN or infinite."""
    return TrainingFailed(
        msg("The loss became NaN or infinite at step {step}.", step=step),
        msg("Try a lower learning rate. If the GPU computes poorly in half precision, start the WebUI with --no-half."),
    )
