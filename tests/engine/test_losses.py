"""What the prediction is compared with, and how."""

from __future__ import annotations

import pytest
import torch

from train_embedding.engine.losses import item_losses, target_of
from train_embedding.engine.noise import add_noise, noise_schedule

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
    target = target_of(prediction_type, latents, noise, schedule, TIMESTEPS)
    alpha = schedule[TIMESTEPS][:, None, None, None]
    if prediction_type == "epsilon":
        recovered = (noisy - (1 - alpha).sqrt() * target) / alpha.sqrt()
    else:
        recovered = alpha.sqrt() * noisy - (1 - alpha).sqrt() * target
    assert torch.allclose(recovered, latents, atol=1e-9)


def test_v_turns_from_noise_to_latents(latents: torch.Tensor, noise: torch.Tensor) -> None:
    schedule = torch.tensor([1.0, 0.0], dtype=torch.float64)
    target = target_of("v_prediction", latents[:2], noise[:2], schedule, torch.tensor([0, 1]))
    assert torch.equal(target[0], noise[0])
    assert torch.equal(target[1], -latents[1])


def test_a_loss_per_item() -> None:
    target = torch.zeros(2, 4, 3, 3)
    prediction = torch.stack([torch.full((4, 3, 3), 2.0), torch.zeros(4, 3, 3)])
    assert item_losses(prediction, target).tolist() == [4.0, 0.0]


def test_losses_are_computed_in_fp32() -> None:
    prediction = torch.full((1, 4, 8, 8), 300.0, dtype=torch.float16)  # its square is no fp16 number
    losses = item_losses(prediction, torch.zeros_like(prediction))
    assert (losses.dtype, losses.item()) == (torch.float32, 90000.0)
