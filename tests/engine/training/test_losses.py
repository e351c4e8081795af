"""What the prediction is compared with, and how."""

from __future__ import annotations

import pytest
import torch

from train_embedding.engine.model.noise_schedule import add_noise, noise_schedule
from train_embedding.engine.training.losses import HUBER_C, masked_means, min_snr_weights, per_sample_losses, prediction_target

TIMESTEPS = torch.tensor([5, 400, 980])


@pytest.fixture
def latents() -> torch.Tensor:
    return torch.randn(3, 4, 5, 5, dtype=torch.float64)


@pytest.fixture
def noise() -> torch.Tensor:
    return torch.randn(3, 4, 5, 5, dtype=torch.float64)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_a_perfect_prediction_gives_the_latents_back(prediction_type: str, latents: torch.Tensor, noise: torch.Tensor) -> None:
    schedule = noise_schedule(0.00085, 0.012, 1000).double()
    noisy = add_noise(latents, noise, schedule, TIMESTEPS)
    target = prediction_target(prediction_type, latents, noise, schedule, TIMESTEPS)
    alpha = schedule[TIMESTEPS][:, None, None, None]
    if prediction_type == "epsilon":
        recovered = (noisy - (1 - alpha).sqrt() * target) / alpha.sqrt()
    else:
        recovered = alpha.sqrt() * noisy - (1 - alpha).sqrt() * target
    assert torch.allclose(recovered, latents, atol=1e-9)


def test_v_turns_from_noise_to_latents(latents: torch.Tensor, noise: torch.Tensor) -> None:
    schedule = torch.tensor([1.0, 0.0], dtype=torch.float64)
    target = prediction_target("v_prediction", latents[:2], noise[:2], schedule, torch.tensor([0, 1]))
    assert torch.equal(target[0], noise[0])
    assert torch.equal(target[1], -latents[1])


def test_a_loss_per_item() -> None:
    target = torch.zeros(2, 4, 3, 3)
    prediction = torch.stack([torch.full((4, 3, 3), 2.0), torch.zeros(4, 3, 3)])
    assert per_sample_losses(prediction, target).tolist() == [4.0, 0.0]


def test_losses_are_computed_in_fp32() -> None:
    prediction = torch.full((1, 4, 8, 8), 300.0, dtype=torch.float16)  # its square is no fp16 number
    losses = per_sample_losses(prediction, torch.zeros_like(prediction))
    assert (losses.dtype, losses.item()) == (torch.float32, 90000.0)


def test_huber_is_squares_for_the_small_and_lines_for_the_large() -> None:
    target = torch.zeros(2, 1, 1, 1)
    small, large = per_sample_losses(torch.tensor([1e-3, 100.0])[:, None, None, None], target, kind="huber")
    assert float(small) == pytest.approx(1e-6, rel=1e-2)
    assert float(large) == pytest.approx(2 * HUBER_C * (100 - HUBER_C), rel=1e-4)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_min_snr(prediction_type: str) -> None:
    schedule = torch.tensor([0.99, 0.9, 0.5, 0.1])
    snr = schedule / (1 - schedule)  # 99, 9, 1, 0.11
    weights = min_snr_weights(5.0, prediction_type, schedule, torch.arange(4))
    below = snr if prediction_type == "epsilon" else snr + 1
    assert torch.allclose(weights, torch.tensor([5.0, 5.0, float(snr[2]), float(snr[3])]) / below)


def test_weights_choose_where_the_loss_counts() -> None:
    prediction = torch.zeros(2, 4, 2, 2)
    prediction[:, :, 0, 1] = 2.0  # errors of 4 in one place of four
    there, elsewhere = torch.zeros(2, 2), torch.ones(2, 2)
    there[0, 1], elsewhere[0, 1] = 1.0, 0.0
    losses = per_sample_losses(prediction, torch.zeros_like(prediction), torch.stack([there, elsewhere]))
    assert losses.tolist() == [4.0, 0.0]
    assert per_sample_losses(prediction, torch.zeros_like(prediction)).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("shape", [(8, 8), (6, 10), (10, 6)])
def test_the_area_of_a_mask_does_not_matter(shape: tuple[int, int]) -> None:
    """Errors that are the same everywhere give the same loss under any mask."""
    height, width = shape
    weights = torch.full((3, height, width), 0.1)
    weights[0, 0, 0] = 1.0
    weights[1, :, : width // 2] = 1.0
    weights[2] = torch.rand(height, width)
    assert masked_means(torch.full((3, 4, height, width), 5.0), weights).tolist() == pytest.approx([5.0] * 3)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0, 7.0])
def test_weights_that_are_all_alike_are_none(weight: float) -> None:
    """Fully opaque and fully transparent masks alike; no 0/0."""
    errors = torch.rand(2, 4, 6, 10)
    assert torch.allclose(masked_means(errors, torch.full((2, 6, 10), weight)), masked_means(errors))


def test_rows_and_columns_of_weights_stay_where_they_are() -> None:
    errors = torch.zeros(1, 4, 2, 3)
    errors[0, :, 1, 0] = 6.0
    weights = torch.zeros(1, 2, 3)
    weights[0, 1, 0] = 0.5
    assert masked_means(errors, weights).item() == 6.0
    assert masked_means(errors, weights.flip(-1)).item() == 0.0


def test_masked_places_get_no_gradient() -> None:
    prediction = torch.rand(1, 4, 2, 2, requires_grad=True)
    weights = torch.tensor([[[1.0, 0.0], [0.5, 0.0]]])
    per_sample_losses(prediction, torch.zeros(1, 4, 2, 2), weights).sum().backward()
    assert ((prediction.grad != 0) == (weights > 0)).all()
