"""The stop rule and the choice of snapshot, on curves whose right answer is known."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
import torch

from train_embedding.engine.training.early_stopping import (
    Evaluation,
    Verdict,
    best_evaluation,
    has_fallen,
    has_learned,
    judge,
    paired_difference,
    scores,
    still_improves,
)

ITEMS, EVERY, CAP = 16, 20, 1200


def evaluations(curve: Callable[[int], float], noise: float, seed: int, steps: int = CAP) -> list[Evaluation]:
    """Losses of items of different levels that follow the curve, each with its own response and some noise."""
    generator = torch.Generator().manual_seed(seed)
    level = 0.02 + 0.3 * torch.rand(ITEMS, generator=generator, dtype=torch.float64)
    response = 0.4 + 1.2 * torch.rand(ITEMS, generator=generator, dtype=torch.float64)
    made = []
    for step in range(0, steps + 1, EVERY):
        jitter = noise * torch.randn(ITEMS, generator=generator, dtype=torch.float64) if step else 0.0
        made.append(Evaluation(step, level * (1 + response * (curve(step) - 1) + jitter)))
    return made


def ended(made: Sequence[Evaluation], floor: int = 0) -> tuple[int, Verdict]:
    """The step at which a run with these evaluations ends, and why; the cap and UNDECIDED when nothing ends it."""
    for count in range(1, len(made) + 1):
        answer = judge(made[:count], floor)
        if answer is not Verdict.UNDECIDED:
            return made[count - 1].step, answer
    return made[-1].step, Verdict.UNDECIDED


def converging(rate: float, low: float = 0.6) -> Callable[[int], float]:
    return lambda step: low + (1 - low) * math.exp(-step / rate)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("noise", [0.0, 0.01, 0.03])
@pytest.mark.parametrize("rate", [15, 40, 80])
def test_a_converging_curve_is_stopped_on_its_plateau(rate: float, noise: float, seed: int) -> None:
    made = evaluations(converging(rate), noise, seed)
    step, answer = ended(made)
    assert answer is Verdict.CONVERGED
    assert step < 12 * rate + 300
    gained, possible = 1 - converging(rate)(step), 0.4
    assert gained > 0.85 * possible


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("noise", [0.0, 0.01, 0.02])
def test_a_curve_that_still_improves_is_not_stopped(noise: float, seed: int) -> None:
    made = evaluations(lambda step: 1 - 0.5 * step / CAP, noise, seed)
    assert ended(made) == (CAP, Verdict.UNDECIDED)


@pytest.mark.parametrize("seed", range(5))
def test_two_plateaus_with_a_long_slope_between_end_on_the_second(seed: int) -> None:
    made = evaluations(lambda step: 1.0 - 0.4 * min(max(step - 60, 0) / 600, 1.0), 0.005, seed)
    step, answer = ended(made)
    assert answer is Verdict.CONVERGED
    assert step >= 600


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("noise", [0.0, 0.005, 0.03])
def test_a_flat_curve_is_not_run_to_the_cap(noise: float, seed: int) -> None:
    made = evaluations(lambda _step: 1.0, noise, seed)
    step, answer = ended(made)
    assert answer is Verdict.NOT_LEARNING
    assert step <= 20 * EVERY


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_a_diverging_curve_is_ended_with_the_start_as_the_best(noise: float, seed: int) -> None:
    made = evaluations(lambda step: 1 + 0.002 * step, noise, seed)
    step, answer = ended(made)
    assert answer is Verdict.NOT_LEARNING
    assert step <= 12 * EVERY
    assert made[best_evaluation(made)].step <= 2 * EVERY


def test_noise_alone_never_looks_like_learning() -> None:
    answers = [ended(evaluations(lambda _step: 1.0, 0.03, seed))[1] for seed in range(40)]
    assert answers.count(Verdict.CONVERGED) <= 4


@pytest.mark.parametrize("seed", range(5))
def test_overfitting_keeps_the_snapshot_before_it(seed: int) -> None:
    made = evaluations(lambda step: converging(30)(step) + max(0, step - 300) * 0.001, 0.005, seed)
    assert made[best_evaluation(made)].step <= 320


def by_items(*losses: Sequence[float]) -> list[Evaluation]:
    return [Evaluation(20 * index, torch.tensor(each, dtype=torch.float64)) for index, each in enumerate(losses)]


def test_the_latest_is_kept_unless_it_is_clearly_worse_than_the_lowest() -> None:
    lower, noisy = [0.5, 0.6, 0.5, 0.6], [0.7, 0.5, 0.4, 0.68]
    assert best_evaluation(by_items([1.0] * 4, lower, noisy)) == 2  # higher by 0.02, with a standard error of 0.07
    assert best_evaluation(by_items([1.0] * 4, lower, [0.52, 0.62, 0.53, 0.61])) == 1
    assert best_evaluation(by_items([1.0] * 4, lower, lower)) == 2
    assert best_evaluation(by_items([1.0] * 4, [1.5] * 4, [1.4] * 4)) == 0
    assert best_evaluation(by_items([1.0] * 4, [1.5] * 4, [1.4] * 4), after=0) == 2


def test_a_run_that_changed_nothing_keeps_its_start() -> None:
    assert best_evaluation(by_items([1.0] * 4, [1.0] * 4, [1.0] * 4)) == 0


def test_a_gain_of_two_percent_is_learning() -> None:
    start = torch.tensor([0.2, 0.1, 0.3, 0.2])
    assert has_fallen(start, start * 0.975)
    assert has_fallen(start, start - torch.tensor([0.1, -0.05, 0.01, 0.0]))  # by 7.5 %, with a standard error of 8 %
    assert not has_fallen(start, start * 0.99)  # although all items are lower
    assert not has_fallen(start, start * 1.1)


def test_the_mean_loss_decides_and_not_the_mean_ratio() -> None:
    # In the mean of ratios, the items of high noise, with their small losses, would win.
    assert best_evaluation(by_items([1.0, 0.01] * 3, [0.6, 0.02] * 3, [0.9, 0.005] * 3)) == 1


@pytest.mark.parametrize(
    ("curve", "expected"),
    [
        (lambda step: 1 - 0.3 * step / 80, True),  # half of the gain comes in the second half
        (converging(60), True),
        (converging(12), False),
        (lambda _step: 1.0, False),
        (lambda step: 1 + 0.001 * step, False),
    ],
)
def test_a_budget_is_worth_its_double_if_the_second_half_still_improves(curve: Callable[[int], float], expected: bool) -> None:
    for seed in range(5):
        assert still_improves(evaluations(curve, 0.002, seed, steps=80), 0) is expected


def test_only_the_current_budget_counts() -> None:
    made = evaluations(lambda step: 1 - 0.4 * min(step, 160) / 160 - 0.2 * max(0, step - 200) / 40, 0.002, 0, steps=240)
    assert still_improves(made, 80)
    flat = evaluations(lambda step: 1 - 0.4 * min(step, 80) / 80, 0.002, 0, steps=240)
    assert not still_improves(flat, 80)
    assert not still_improves(flat[:1], 0)


def test_the_floor_holds() -> None:
    made = evaluations(converging(10), 0.01, 0)
    assert ended(made)[0] < 400
    step, answer = ended(made, floor=600)
    assert (step, answer) == (600, Verdict.CONVERGED)


def test_nothing_is_said_before_the_window_has_been_full_twice() -> None:
    made = evaluations(lambda _step: 1.0, 0.0, 0)
    assert ended(made) == (8 * EVERY, Verdict.NOT_LEARNING)


def test_scores_are_ratios_of_mean_losses() -> None:
    made = [Evaluation(0, torch.tensor([1.0, 2.0]).double()), Evaluation(20, torch.tensor([0.5, 2.0]).double())]
    assert scores(made) == [1.0, pytest.approx(2.5 / 3)]
    assert not has_learned(made)
    assert has_learned([made[0], Evaluation(20, torch.tensor([0.5, 1.4]).double())])


def test_the_paired_difference() -> None:
    difference, error = paired_difference(torch.tensor([0.5, 1.0, -0.5, 2.0]))
    assert difference == pytest.approx(0.75)
    assert error == pytest.approx((((0.25**2 + 0.25**2 + 1.25**2 + 1.25**2) / 3) ** 0.5) / 2)
    assert paired_difference(torch.ones(4)) == (1.0, 0.0)
