"""When a run has learned what it can, and which of its snapshots to keep: the rules, on evaluations alone.

y_s is the mean over the items of ℓ_k(s) / ℓ_k(0), where ℓ_k(s) is the loss of item k at step s on fixed latents, noise, prompts
and timesteps (after DVAR, Voronov et al. 2023, arXiv 2302.04841, which stops on the variance of such a loss).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

WINDOW = 8
"Evaluations that the stop rule looks back over."
VARIANCE_RATIO = 0.15
"The curve is quiet when its variance in the window is below this part of its variance as a whole."
SMALL_GAIN = 0.05
"An improvement over the window below this part of the whole one does not count."
HARDLY_MOVED = 0.05
"Vectors that moved by less than this part of their norm were hardly trained."
_TINY = 1e-6
"Differences below this are rounding."

CONVERGED = "converged"
NOT_LEARNING = "not learning"


@dataclass(frozen=True)
class Evaluation:
    """The losses of the fixed items at a step: float64 CPU [N]. The first one of a run is of step 0."""

    step: int
    losses: torch.Tensor


def paired(differences: torch.Tensor) -> tuple[float, float]:
    """Mean of the items' differences [N], N at least 2, and its standard error."""
    values = differences.double()
    return float(values.mean()), float(values.std()) / len(values) ** 0.5


def scores(evaluations: Sequence[Evaluation]) -> list[float]:
    """y of each evaluation: 1 at the start, below it where the embedding has learned."""
    return [float(one) for one in _ratios(evaluations).mean(1)]


def verdict(evaluations: Sequence[Evaluation], floor: int) -> str:
    """CONVERGED, NOT_LEARNING, or "" to go on.

    floor: the first step that may end a run. Either answer must be given by two evaluations running.
    """
    if len(evaluations) < 2 or evaluations[-1].step < floor:
        return ""
    now = _verdict_once(evaluations)
    return now if now and now == _verdict_once(evaluations[:-1]) else ""


def best(evaluations: Sequence[Evaluation], after: int = -1) -> int:
    """Index of the earliest evaluation that is as good as the best one to within the standard error of their difference.

    after: only evaluations of later steps than this are looked at; there must be one.
    """
    ratios = _ratios(evaluations)
    first = next(index for index, one in enumerate(evaluations) if one.step > after)
    lowest = first + int(ratios[first:].mean(1).argmin())
    for index in range(first, lowest):
        gain, error = paired(ratios[index] - ratios[lowest])
        if gain <= error + _TINY:
            return index
    return lowest


def learned(evaluations: Sequence[Evaluation]) -> bool:
    """Whether the best score lies below the start by two standard errors or more."""
    ratios = _ratios(evaluations)
    return _below_start(ratios[int(ratios.mean(1).argmin())])


def why_not_learning(evaluations: Sequence[Evaluation], moved: float) -> str:
    """The likely reason, and what to try, in a sentence. moved: how far the vectors have moved, as a part of their norm."""
    gain, error = paired(1 - _ratios(evaluations)[-1])
    if gain < -error - _TINY:
        return "The loss on fixed noise rose: try a lower learning rate."
    if moved < HARDLY_MOVED:
        return "The vectors hardly moved: try a higher learning rate, or more steps."
    return (
        "The vectors moved and nothing came of it: the initialization text may already say what the pictures show, the captions "
        "may name it in other words, or the pictures have nothing in common that the checkpoint can draw."
    )


def _below_start(ratios: torch.Tensor) -> bool:
    """Whether the items' ratios [N] lie below 1 by two standard errors or more."""
    gain, error = paired(1 - ratios)
    return gain > _TINY and gain >= 2 * error


def _verdict_once(evaluations: Sequence[Evaluation]) -> str:
    """The rule for one evaluation, the last of those given; "" while the window is not full.

    The best of many noisy evaluations may lie below the start by chance, so the window as a whole must lie there too.
    """
    if len(evaluations) < WINDOW:
        return ""
    ratios = _ratios(evaluations)  # [E, N]
    curve = ratios.mean(1)
    window = ratios[-WINDOW:]
    earlier, later = window[: WINDOW // 2].mean(0), window[WINDOW // 2 :].mean(0)
    gain, error = paired(earlier - later)
    if not learned(evaluations) or not _below_start(window.mean(0)):
        return NOT_LEARNING if gain <= error + _TINY else ""
    quiet = float(curve[-WINDOW:].var()) < VARIANCE_RATIO * float(curve.var())
    small = gain < max(error, SMALL_GAIN * (1 - float(curve.min())))
    return CONVERGED if quiet and small else ""


def _ratios(evaluations: Sequence[Evaluation]) -> torch.Tensor:
    """ℓ_k(s) / ℓ_k(0), [E, N]."""
    losses = torch.stack([one.losses for one in evaluations])
    return losses / losses[0].clamp(min=1e-12)
