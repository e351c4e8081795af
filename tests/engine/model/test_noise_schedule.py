"""Noise levels and noise: their distribution, and that they follow from the seed and the step."""

from __future__ import annotations

import pytest
import torch

from train_embedding.engine.model.noise_schedule import add_noise, draw_timesteps, noise_schedule, zero_terminal_snr
from train_embedding.engine.seeds import step_generator

COUNT = 20_000


def drawn(policy: str, count: int = COUNT, timesteps: int = 1000, seed: int = 1) -> torch.Tensor:
    return draw_timesteps(policy, count, timesteps, step_generator(seed, 1))


def part(values: torch.Tensor, low: int, high: int) -> float:
    return float(((values >= low) & (values < high)).float().mean())


def test_shifted_draws_mostly_from_the_upper_middle() -> None:
    values = drawn("shifted")
    # 20 % are spread over all: 0.2 × 0.5 below, 0.8 + 0.2 × 0.4 inside, 0.2 × 0.1 above.
    assert part(values, 0, 500) == pytest.approx(0.10, abs=1e-3)
    assert part(values, 500, 900) == pytest.approx(0.88, abs=1e-3)
    assert part(values, 900, 1000) == pytest.approx(0.02, abs=1e-3)
    assert part(values, 0, 250) == pytest.approx(0.05, abs=1e-3)
    assert part(values, 500, 700) == pytest.approx(0.44, abs=1e-3)
    assert part(values, 900, 950) == pytest.approx(0.01, abs=1e-3)


@pytest.mark.parametrize(("focus", "inside"), [(0.0, 0.4), (0.5, 0.7), (1.0, 1.0)])
def test_the_focus_is_the_share_that_is_moved(focus: float, inside: float) -> None:
    values = draw_timesteps("shifted", COUNT, 1000, step_generator(1, 1), focus)
    assert part(values, 500, 900) == pytest.approx(inside, abs=2e-3)
    assert part(values, 0, 500) == pytest.approx(0.5 * (1 - focus), abs=2e-3)


def test_shifted_is_stratified_within_the_batch() -> None:
    """Of 8 timesteps one is in each eighth of the distribution, whatever the seed; independent ones would crowd."""
    edges = [0, 511, 568, 625, 681, 738, 795, 852, 1000]  # where an eighth of 0.1, 0.88 and 0.02 ends
    for seed in range(50):
        values = drawn("shifted", 8, seed=seed)
        counts = torch.histogram(values.float(), torch.tensor(edges, dtype=torch.float32)).hist
        assert counts.max() <= 2
        assert values.min() < 570
        assert values.max() > 790


def test_shifted_comes_in_random_order() -> None:
    firsts = torch.stack([drawn("shifted", 4, seed=seed)[0] for seed in range(200)]).float()
    assert firsts.std() > 100


def test_uniform_is_uniform() -> None:
    values = drawn("uniform")
    assert all(part(values, low, low + 100) == pytest.approx(0.1, abs=0.01) for low in range(0, 1000, 100))


@pytest.mark.parametrize("policy", ["uniform", "shifted"])
def test_timesteps_stay_inside(policy: str) -> None:
    for timesteps in (1, 10, 1000):
        values = drawn(policy, timesteps=timesteps)
        assert values.dtype == torch.long
        assert (int(values.min()), int(values.max())) == (0, timesteps - 1)


def test_randomness_follows_from_the_seed_and_the_step() -> None:
    def numbers(seed: int, step: int) -> torch.Tensor:
        return torch.randn(8, generator=step_generator(seed, step))

    assert torch.equal(numbers(3, 7), numbers(3, 7))
    others = [numbers(3, 8), numbers(4, 7), numbers(2**32 - 1, 1_000_000), numbers(2**32 - 1, 2**40)]
    assert not any(torch.equal(numbers(3, 7), other) for other in others)


def test_adding_noise() -> None:
    schedule = noise_schedule(0.00085, 0.012, 1000)
    latents, noise = torch.randn(2, 4, 3, 3), torch.randn(2, 4, 3, 3)
    noisy = add_noise(latents, noise, schedule, torch.tensor([10, 990]))
    for item, timestep in enumerate((10, 990)):
        alpha = float(schedule[timestep])
        expected = alpha**0.5 * latents[item] + (1 - alpha) ** 0.5 * noise[item]
        assert torch.allclose(noisy[item], expected, atol=1e-6)
    assert torch.allclose(noisy[0], latents[0], atol=0.5)
    assert torch.allclose(noisy[1], noise[1], atol=0.5)


def test_the_schedule_of_stable_diffusion() -> None:
    schedule = noise_schedule(0.00085, 0.012, 1000)
    assert schedule.dtype == torch.float32
    assert float(schedule[0]) == pytest.approx(1 - 0.00085, abs=1e-6)
    assert float(schedule[999]) == pytest.approx(0.0046602, abs=1e-6)  # what every SD1 checkpoint's alphas_cumprod ends with
    assert bool((schedule[1:] < schedule[:-1]).all())


def test_zero_terminal_snr() -> None:
    schedule = noise_schedule(0.00085, 0.012, 1000)
    rescaled = zero_terminal_snr(schedule)
    assert float(rescaled[-1]) == pytest.approx(4.8973451890853435e-08)
    assert float(rescaled[0]) == pytest.approx(float(schedule[0]))
    assert bool((rescaled[1:] < rescaled[:-1]).all())
    # √ᾱ is moved and scaled: what lies half way stays half way.
    root, scaled = schedule.double().sqrt(), rescaled.double().sqrt()
    part = (root[500] - root[-1]) / (root[0] - root[-1])
    assert float(scaled[500]) == pytest.approx(float(part * root[0]), rel=1e-5)
