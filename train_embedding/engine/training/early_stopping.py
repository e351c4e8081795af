"""Early stopping: when a run has learned what it can, and which of its snapshots to keep, from the evaluations alone.

The score y_s is the mean over the items of ℓ_k(s) / ℓ_k(0), where ℓ_k(s) is the loss of item k at step s on fixed latents, noise,
prompts and timesteps (after DVAR, Voronov et al. 2023, arXiv 2302.04841, which stops on the variance of such a loss).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal

import torch

WINDOW = 8
"Number of latest evaluations that the rule looks at."
VARIANCE_RATIO = 0.15
"The curve has plateaued when its variance in the window is below this fraction of its variance as a whole."
SMALL_GAIN = 0.05
"An improvement over the window below this fraction of the whole improvement does not count."
HARDLY_MOVED = 0.05
"Vectors that moved by less than this fraction of their norm were hardly trained."
_TINY = 1e-6
"Differences below this are rounding."


class Verdict(Enum):
    """What the evaluations say about a run. The values are saved in its files."""

    UNDECIDED = ""
    CONVERGED = "converged"
    NOT_LEARNING = "not learning"


Diagnosis = Literal["loss rose", "hardly moved", "no gain"]
"The likely reason why a run did not learn."


@dataclass(frozen=True)
class Evaluation:
    """The evaluation losses at a step. The first evaluation of a run is of step 0."""

    step: int
    losses: torch.Tensor
    "Float64 [N], on the CPU."


def paired_difference(differences: torch.Tensor) -> tuple[float, float]:
    """Compute the mean of paired differences [N], N at least 2, and its standard error."""
    values = differences.double()
    return float(values.mean()), float(values.std()) / len(values) ** 0.5


def scores(evaluations: Sequence[Evaluation]) -> list[float]:
    """Compute the score y of each evaluation: 1 at the start, lower where the embedding has learned."""
    return [float(score) for score in _ratios(evaluations).mean(1)]


def judge(evaluations: Sequence[Evaluation], floor: int) -> Verdict:
    """Judge whether the run should end; two consecutive evaluations must agree on the verdict.

    Args:
        evaluations: All of the run, at least one.
        floor: First step that may end the run.
    """
    if len(evaluations) < 2 or evaluations[-1].step < floor:
        return Verdict.UNDECIDED
    verdict = _judge_once(evaluations)
    return verdict if verdict is _judge_once(evaluations[:-1]) else Verdict.UNDECIDED


def best_evaluation(evaluations: Sequence[Evaluation], after: int = -1) -> int:
    """Find the earliest evaluation that is as good as the best one to within the standard error of their difference.

    Args:
        evaluations: All of the run.
        after: Only later steps than this are compared; there must be one.

    Returns:
        Its index.
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
    """Check whether the best score is below the start by two standard errors or more."""
    ratios = _ratios(evaluations)
    return _below_start(ratios[int(ratios.mean(1).argmin())])


def diagnose(evaluations: Sequence[Evaluation], moved: float) -> Diagnosis:
    """Find the likely reason why the run did not learn.

    Args:
        evaluations: All of the run.
        moved: How far the vectors have moved, as a fraction of their norm.
    """
    gain, error = paired_difference(1 - _ratios(evaluations)[-1])
    if gain < -error - _TINY:
        return "loss rose"
    return "hardly moved" if moved < HARDLY_MOVED else "no gain"


def _below_start(ratios: torch.Tensor) -> bool:
    """Check whether the items' ratios [N] are below 1 by two standard errors or more."""
    gain, error = paired_difference(1 - ratios)
    return gain > _TINY and gain >= 2 * error


def _judge_once(evaluations: Sequence[Evaluation]) -> Verdict:
    """Apply the rule at the last of the evaluations; undecided while the window is not full.

    The best of many noisy evaluations may lie below the start by chance, so the window as a whole must lie there too.
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
