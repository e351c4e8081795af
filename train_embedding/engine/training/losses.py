"""What the prediction is compared with, and how."""

from __future__ import annotations

import torch

HUBER_C = 0.1
"Where the pseudo-Huber loss goes over from squares to absolute values, in units of the noise's deviation."


def prediction_target(
    prediction_type: str, latents: torch.Tensor, noise: torch.Tensor, alphas_cumprod: torch.Tensor, timesteps: torch.Tensor
) -> torch.Tensor:
    """The noise, or v = √ᾱ_t · noise − √(1 − ᾱ_t) · latents (Salimans & Ho 2022, section 4). All [B, 4, h, w]."""
    if prediction_type == "epsilon":
        return noise
    alpha = alphas_cumprod[timesteps][:, None, None, None]
    return alpha.sqrt() * noise - (1 - alpha).sqrt() * latents


def per_sample_losses(
    prediction: torch.Tensor, target: torch.Tensor, weights: torch.Tensor | None = None, kind: str = "mse"
) -> torch.Tensor:
    """Mean error of each item of the batch in fp32, [B]. weights: as for `masked_means`. kind: "mse" or "huber".

    "huber" is the pseudo-Huber loss 2c(√(d² + c²) − c) of Song & Dhariwal 2023 (arXiv 2310.14189), for which an odd image
    counts less than its square.
    """
    squares = (prediction.float() - target.float()).square()
    errors = 2 * HUBER_C * ((squares + HUBER_C**2).sqrt() - HUBER_C) if kind == "huber" else squares
    return masked_means(errors, weights)


def masked_means(errors: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
    """The mean of each item's errors [B, C, h, w] over its channels and places, [B].

    weights: [B, h, w], at least 0, how much each place counts, scaled so that their mean over each item is 1: a small mask
    weighs as much as a large one. Where they are all alike, 0 included, and where there are none, every place counts alike.
    """
    if weights is None:
        return errors.mean((1, 2, 3))
    share = weights.float().mean((1, 2), keepdim=True)
    scaled = torch.where(share > 0, weights.float() / share.clamp(min=1e-12), 1.0)  # [B, h, w]
    return (errors.mean(1) * scaled).mean((1, 2))


def min_snr_weights(gamma: float, prediction_type: str, alphas_cumprod: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
    """Weight of each item's loss, [B]: min(SNR, γ) / SNR for noise, min(SNR, γ) / (SNR + 1) for v, with
    SNR = ᾱ_t / (1 − ᾱ_t) (Hang et al. 2023, arXiv 2303.09556, section 3.4). γ is above 0."""
    alpha = alphas_cumprod[timesteps]
    ratio = alpha / (1 - alpha).clamp(min=1e-8)
    return ratio.clamp(max=gamma) / (ratio.clamp(min=1e-8) if prediction_type == "epsilon" else ratio + 1)
