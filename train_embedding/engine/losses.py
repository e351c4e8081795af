"""What the prediction is compared with, and how."""

from __future__ import annotations

import torch


def target_of(
    prediction_type: str, latents: torch.Tensor, noise: torch.Tensor, alphas_cumprod: torch.Tensor, timesteps: torch.Tensor
) -> torch.Tensor:
    """The noise, or v = √ᾱ_t · noise − √(1 − ᾱ_t) · latents (Salimans & Ho 2022, section 4). All [B, 4, h, w]."""
    if prediction_type == "epsilon":
        return noise
    alpha = alphas_cumprod[timesteps][:, None, None, None]
    return alpha.sqrt() * noise - (1 - alpha).sqrt() * latents


def item_losses(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Mean squared error of each item of the batch in fp32, [B]."""
    return (prediction.float() - target.float()).square().mean((1, 2, 3))
