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


def item_losses(prediction: torch.Tensor, target: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
    """Mean squared error of each item of the batch in fp32, [B]. weights: as for `area_means`."""
    return area_means((prediction.float() - target.float()).square(), weights)


def area_means(errors: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
    """The mean of each item's errors [B, C, h, w] over its channels and places, [B].

    weights: [B, h, w], at least 0, how much each place counts, scaled so that their mean over each item is 1: a small mask
    weighs as much as a large one. Where they are all alike, 0 included, and where there are none, every place counts alike.
    """
    if weights is None:
        return errors.mean((1, 2, 3))
    share = weights.float().mean((1, 2), keepdim=True)
    scaled = torch.where(share > 0, weights.float() / share.clamp(min=1e-12), 1.0)  # [B, h, w]
    return (errors.mean(1) * scaled).mean((1, 2))
