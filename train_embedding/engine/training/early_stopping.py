"""Early stopping: decides from the evaluation losses when a run ends, and which vectors are the best.

The score y_s is the mean of ℓ_k(s) / ℓ_k(0) over the items, where ℓ_k(s) is the loss of item k at step s for fixed latents,
noise, prompts and timesteps. The rule is based on DVAR (Voronov et al. 2023, arXiv 2302.04841), which uses the variance of such a
loss.
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
    return [float(score) for score in _ratios(evaluations).mean(1)]


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


def best_evaluation(evaluations: Sequence[Evaluation], after: int = -1) -> int:
    """Find the earliest evaluation that is as good as the best one, within the standard error of their difference.

    Args:
        evaluations: All evaluations of the run.
        after: Only later steps are compared; there must be at least one.

    Returns:
        The index of the evaluation.
    """
    ratios = _ratios(evaluations)
    first = next(index for index, evaluation in enumerate(evaluations) if evaluation.step > after)
    lowest = first + int(ratios[first:].mean(1).argmin())
    for index in range(first, lowest):
        gain, error = paired_difference(ratios[index] - ratios[lowest])
        if gain <= error + _TINY:
            return index
    return lowest


def has_learned(evaluations: Sequence[Evaluation]) -> bool:
    """Return whether the best score is at least two standard errors below that of the start."""
    ratios = _ratios(evaluations)
    return _below_start(ratios[int(ratios.mean(1).argmin())])


def diagnose(evaluations: Sequence[Evaluation], moved: float) -> Diagnosis:
    """Find the likely reason why the run did not learn.

    Args:
        evaluations: All evaluations of the run.
        moved: Change of the vectors relative to their norm; see `TrainState.relative_change`.
    """
    gain, error = paired_difference(1 - _ratios(evaluations)[-1])
    if gain < -error - _TINY:
        return "loss rose"
    return "hardly moved" if moved < HARDLY_MOVED else "no gain"


def _below_start(ratios: torch.Tensor) -> bool:
    """Return whether the ratios of the items, [N], are at least two standard errors below 1."""
    gain, error = paired_difference(1 - ratios)
    return gain > _TINY and gain >= 2 * error


def _judge_once(evaluations: Sequence[Evaluation]) -> Verdict:
    """Apply the rule at the last evaluation. It is undecided until the window is full.

    The best of many noisy evaluations may be below the start by chance, so the mean of the window must be below the start too.
    """
    if len(evaluations) < WINDOW:
        return Verdict.UNDECIDED
    ratios = _ratios(evaluations)  # [E, N]
    curve = ratios.mean(1)
    window = ratios[-WINDOW:]
    earlier, later = window[: WINDOW // 2].mean(0), window[WINDOW // 2 :].mean(0)
    gain, error = paired_difference(earlier - later)
    if not has_learned(evaluations) or not _below_start(window.mean(0)):
        return Verdict.NOT_LEARNING if gain <= error + _TINY else Verdict.UNDECIDED
    plateaued = float(curve[-WINDOW:].var()) < VARIANCE_RATIO * float(curve.var())
    small = gain < max(error, SMALL_GAIN * (1 - float(curve.min())))
    return Verdict.CONVERGED if plateaued and small else Verdict.UNDECIDED


def _ratios(evaluations: Sequence[Evaluation]) -> torch.Tensor:
    """Compute ℓ_k(s) / ℓ_k(0), [E, N]."""
    losses = torch.stack([evaluation.losses for evaluation in evaluations])
    return losses / losses[0].clamp(min=1e-12)
