"""Early stopping: decides from the evaluation losses when a run ends, and which vectors are the best.

The score y_s is Σ ℓ_k(s) / Σ ℓ_k(0) over the items, where ℓ_k(s) is the loss of item k at step s for fixed latents, noise,
prompts and timesteps. A mean of the ratios ℓ_k(s) / ℓ_k(0) would depend on the few items with a small ℓ_k(0), those of high
noise.

With a falling learning rate, a run ends with its budget of steps, which is doubled as long as its second half still lowered
the loss (`still_improves`). With a constant rate, it ends on the plateau (`judge`); that rule is based on DVAR (Voronov et al.
2023, arXiv 2302.04841), which uses the variance of such a loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal

import torch

WINDOW = 8
"Number of latest evaluations that the rule uses."
VARIANCE_RATIO = 0.15
"The curve has plateaued if its variance in the window is below this fraction of its total variance."
SMALL_GAIN = 0.05
"An improvement within the window below this fraction of the total improvement is ignored."
LATE_GAIN = 0.2
"Fraction of the total improvement that the second half of a budget must bring for the budget to be doubled."
MIN_GAIN = 0.02
"A budget of steps that lowered the mean loss by less than this fraction has not learned."
HARDLY_MOVED = 0.05
"Vectors that changed by less than this fraction of their norm are considered barely trained."
_TINY = 1e-6
"Differences below this are considered rounding errors."


class Verdict(Enum):
    """Result of early stopping. The values are saved in the files of a run."""

    UNDECIDED = ""
    CONVERGED = "converged"
    NOT_LEARNING = "not learning"


Diagnosis = Literal["loss rose", "hardly moved", "no gain"]
"Likely reason why a run did not learn."


@dataclass(frozen=True)
class Evaluation:
    """The evaluation losses at a step.

    Attributes:
        step: The step; 0 for the first evaluation of a run.
        losses: Loss of each item, float64 [N], on the CPU.
    """

    step: int
    losses: torch.Tensor


def paired_difference(differences: torch.Tensor) -> tuple[float, float]:
    """Compute the mean of paired differences, [N] with N ≥ 2, and its standard error."""
    values = differences.double()
    return float(values.mean()), float(values.std()) / len(values) ** 0.5


def scores(evaluations: Sequence[Evaluation]) -> list[float]:
    """Compute the score y of each evaluation: 1 at the start, lower as the embedding learns."""
    losses = _losses(evaluations).mean(1)
    return [float(score) for score in losses / losses[0].clamp(min=1e-12)]


def judge(evaluations: Sequence[Evaluation], floor: int) -> Verdict:
    """Decide whether the run should end. Two consecutive evaluations must give the same result.

    Args:
        evaluations: All evaluations of the run, at least one.
        floor: First step at which the run may end.
    """
    if len(evaluations) < 2 or evaluations[-1].step < floor:
        return Verdict.UNDECIDED
    verdict = _judge_once(evaluations)
    return verdict if verdict is _judge_once(evaluations[:-1]) else Verdict.UNDECIDED


def still_improves(evaluations: Sequence[Evaluation], start: int) -> bool:
    """Return whether the second half of a budget of steps still lowered the loss: the run is then worth its double.

    Args:
        evaluations: All evaluations of the run; the last one is at the end of the budget.
        start: Step at which the budget began.
    """
    losses, end = _losses(evaluations), evaluations[-1].step
    middle = min(range(len(evaluations)), key=lambda index: abs(2 * evaluations[index].step - start - end))
    gain, error = paired_difference(losses[middle] - losses[-1])
    whole = float((losses[0] - losses[-1]).mean())
    clear = gain >= 2 * error + _TINY and gain >= LATE_GAIN * whole
    return middle < len(evaluations) - 1 and clear and _is_below(losses[-1], losses[0])


def best_evaluation(evaluations: Sequence[Evaluation], after: int = -1) -> int:
    """Find the evaluation to keep: the latest one that is not clearly worse than the one with the lowest mean loss.

    Clearly is by two standard errors of the paired difference. The lowest of several noisy means is often too early, and later
    vectors have seen more images. If they changed nothing, the first evaluation is kept.

    Args:
        evaluations: All evaluations of the run.
        after: Only later steps are compared; there must be at least one.

    Returns:
        The index of the evaluation.
    """
    first = next(index for index, evaluation in enumerate(evaluations) if evaluation.step > after)
    losses = _losses(evaluations)
    lowest = losses[first + int(losses[first:].mean(1).argmin())]
    latest = max(index for index in range(first, len(losses)) if not _is_below(lowest, losses[index]))
    unchanged = bool(((losses[latest] - losses[first]).abs() <= _TINY).all())
    return first if unchanged else latest


def has_learned(evaluations: Sequence[Evaluation]) -> bool:
    """Return whether the lowest mean loss is at least two standard errors below that of the start."""
    losses = _losses(evaluations)
    return _is_below(losses[int(losses.mean(1).argmin())], losses[0])


def has_fallen(start: torch.Tensor, now: torch.Tensor) -> bool:
    """Return whether the mean loss is below that of the start by MIN_GAIN of it; both have the same items, [N].

    The standard error is no help here: with few items it is often larger than the gain of a run that has learned, and with many
    even a run that cannot learn is clearly below its start on the images that it was trained on, by less than one percent.
    """
    return float((start - now).mean()) >= MIN_GAIN * float(start.mean())


def diagnose(evaluations: Sequence[Evaluation], moved: float) -> Diagnosis:
    """Find the likely reason why the run did not learn.

    Args:
        evaluations: All evaluations of the run.
        moved: Change of the vectors relative to their norm; see `TrainState.relative_change`.
    """
    losses = _losses(evaluations)
    gain, error = paired_difference(losses[0] - losses[-1])
    if gain < -error - _TINY:
        return "loss rose"
    return "hardly moved" if moved < HARDLY_MOVED else "no gain"


def _is_below(losses: torch.Tensor, start: torch.Tensor) -> bool:
    """Return whether losses of the items, [N], are at least two standard errors below those of the start."""
    gain, error = paired_difference(start - losses)
    return gain > _TINY and gain >= 2 * error


def _judge_once(evaluations: Sequence[Evaluation]) -> Verdict:
    """Apply the rule at the last evaluation. It is undecided until the window is full.

    The best of many noisy evaluations may be below the start by chance, so the mean of the window must be below the start too.
    """
    if len(evaluations) < WINDOW:
        return Verdict.UNDECIDED
    losses = _losses(evaluations)  # [E, N]
    curve = losses.mean(1) / losses[0].mean().clamp(min=1e-12)
    window = losses[-WINDOW:]
    earlier, later = window[: WINDOW // 2].mean(0), window[WINDOW // 2 :].mean(0)
    gain, error = paired_difference((earlier - later) / losses[0].mean().clamp(min=1e-12))
    if not has_learned(evaluations) or not _is_below(window.mean(0), losses[0]):
        return Verdict.NOT_LEARNING if gain <= error + _TINY else Verdict.UNDECIDED
    plateaued = float(curve[-WINDOW:].var()) < VARIANCE_RATIO * float(curve.var())
    small = gain < max(error, SMALL_GAIN * (1 - float(curve.min())))
    return Verdict.CONVERGED if plateaued and small else Verdict.UNDECIDED


def _losses(evaluations: Sequence[Evaluation]) -> torch.Tensor:
    """Return the losses of all evaluations, [E, N]."""
    return torch.stack([evaluation.losses for evaluation in evaluations])
