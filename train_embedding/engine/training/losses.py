"""Targets of predictions, and losses."""

from __future__ import annotations

import torch

from train_embedding.engine.model.noise_schedule import PredictionType

HUBER_C = 0.1
"Error at which the pseudo-Huber loss changes from squared to absolute, in standard deviations of the noise."


def prediction_target(
    prediction_type: PredictionType,
    latents: torch.Tensor,
    noise: torch.Tensor,
    alphas_cumprod: torch.Tensor,
    timesteps: torch.Tensor,
) -> torch.Tensor:
    """Compute what the UNet should predict, [B, 4, h, w].

    This is the noise ε, or v = √ᾱ_t · ε − √(1 − ᾱ_t) · latents (Salimans & Ho 2022, arXiv 2202.00512, section 4).

    Args:
        prediction_type: "epsilon" or "v_prediction".
        latents: [B, 4, h, w].
        noise: [B, 4, h, w].
        alphas_cumprod: ᾱ, [T].
        timesteps: Long [B].
    """
    if prediction_type == "epsilon":
        return noise
    alpha = alphas_cumprod[timesteps][:, None, None, None]
    return alpha.sqrt() * noise - (1 - alpha).sqrt() * latents


def per_sample_losses(
    prediction: torch.Tensor, target: torch.Tensor, weights: torch.Tensor | None = None, kind: str = "mse"
) -> torch.Tensor:
    """Compute the loss of each item of a batch in fp32, [B].

    Args:
        prediction: [B, 4, h, w].
        target: [B, 4, h, w].
        weights: As for `masked_means`.
        kind: "mse", or "huber" for the pseudo-Huber loss 2c(√(d² + c²) − c) of Song & Dhariwal 2023 (arXiv 2310.14189), which
            is less sensitive to outliers.
    """
    squares = (prediction.float() - target.float()).square()
    errors = 2 * HUBER_C * ((squares + HUBER_C**2).sqrt() - HUBER_C) if kind == "huber" else squares
    return masked_means(errors, weights)


def masked_means(errors: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
    """Compute the weighted mean of each item's errors over channels and positions, [B].

    Args:
        errors: [B, C, h, w].
        weights: Weight of each position, at least 0, [B, h, w]. They are scaled to a mean of 1 per item, so that items with small
            and large masks have the same weight. None or equal weights (even if all are 0) give a plain mean.
    """
    if weights is None:
        return errors.mean((1, 2, 3))
    share = weights.float().mean((1, 2), keepdim=True)
    scaled = torch.where(share > 0, weights.float() / share.clamp(min=1e-12), 1.0)  # [B, h, w]
    return (errors.mean(1) * scaled).mean((1, 2))


def min_snr_weights(
    gamma: float, prediction_type: PredictionType, alphas_cumprod: torch.Tensor, timesteps: torch.Tensor
) -> torch.Tensor:
    """Compute the min-SNR weight of each item's loss, [B] (Hang et al. 2023, arXiv 2303.09556, section 3.4).

    It is min(SNR, γ) / SNR for ε and min(SNR, γ) / (SNR + 1) for v, with SNR = ᾱ_t / (1 − ᾱ_t).

    Args:
        gamma: γ, above 0.
        prediction_type: "epsilon" or "v_prediction".
        alphas_cumprod: ᾱ, [T].
        timesteps: Long [B].
    """
    alpha = alphas_cumprod[timesteps]
    ratio = alpha / (1 - alpha).clamp(min=1e-8)
    return ratio.clamp(max=gamma) / (ratio.clamp(min=1e-8) if prediction_type == "epsilon" else ratio + 1)
