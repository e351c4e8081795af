"""Noise schedules, and timesteps and noisy latents for training steps."""

from __future__ import annotations

from typing import Literal

import torch

from train_embedding.engine.devices import as_float64

PredictionType = Literal["epsilon", "v_prediction"]
"Output of a UNet: the noise ε, or v (Salimans & Ho 2022, arXiv 2202.00512)."
LEAST_SIGNAL = 4.8973451890853435e-08
"ᾱ of pure noise. The WebUI uses this value instead of 0, so that the noise level σ is finite."
FOCUS = (0.5, 0.9)
"Part of the schedule that shifted sampling prefers, where a subject is learned (ZOODiP, arXiv 2503.14868)."


def noise_schedule(start: float, end: float, timesteps: int) -> torch.Tensor:
    """Compute ᾱ_t = Π (1 − β), with √β linear from √start to √end, as in latent diffusion (Rombach et al. 2022).

    Args:
        start: First β.
        end: Last β.
        timesteps: Number of timesteps T.

    Returns:
        ᾱ, fp32 [T].
    """
    betas = torch.linspace(start**0.5, end**0.5, timesteps, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, 0).float()


def zero_terminal_snr(alphas_cumprod: torch.Tensor) -> torch.Tensor:
    """Shift and scale √ᾱ so that the last timestep is pure noise (Lin et al. 2024, arXiv 2305.08891, algorithm 1).

    The last value becomes LEAST_SIGNAL, as in the WebUI. `rescale_zero_terminal_snr` of diffusers takes and returns β, which
    hosts do not provide.

    Args:
        alphas_cumprod: ᾱ, [T].

    Returns:
        ᾱ, fp32 [T].
    """
    root = as_float64(alphas_cumprod).sqrt()
    squared = ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2
    squared[-1] = LEAST_SIGNAL
    return squared.float().to(alphas_cumprod.device)


def draw_timesteps(policy: str, count: int, timesteps: int, generator: torch.Generator, focus: float = 0.8) -> torch.Tensor:
    """Draw timesteps, long [count], from 0 to `timesteps` − 1.

    Args:
        policy: "uniform": independent and uniform. "stratified": uniform, one from each of `count` equal parts of the schedule.
            "shifted": stratified, with the share `focus` of the draws in FOCUS and the rest over the full range, for texture.
        count: Number of timesteps to draw.
        timesteps: Length of the schedule.
        generator: Generator on the CPU.
        focus: Share of draws in FOCUS for "shifted", from 0 to 1.
    """
    if policy == "uniform":
        return torch.randint(timesteps, (count,), generator=generator)
    strata = (torch.randperm(count, generator=generator) + torch.rand(count, generator=generator)) / count
    levels = strata if policy == "stratified" else _shifted_quantile(strata, focus)
    return (levels * timesteps).long().clamp(max=timesteps - 1)


def _shifted_quantile(probability: torch.Tensor, mass: float) -> torch.Tensor:
    """Invert the distribution function of shifted sampling, which is piecewise linear with three parts, or one if `mass` is 1."""
    low, high = FOCUS
    tail = 1 - mass
    below, inside = tail * low, mass + tail * (high - low)
    first = probability / max(tail, 1e-12)
    second = low + (probability - below) * (high - low) / inside
    third = high + (probability - below - inside) / max(tail, 1e-12)
    return torch.where(probability < below, first, torch.where(probability < below + inside, second, third))


def add_noise(latents: torch.Tensor, noise: torch.Tensor, alphas_cumprod: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
    """Compute noisy latents √ᾱ_t · latents + √(1 − ᾱ_t) · noise, [B, 4, h, w] (Ho et al. 2020, arXiv 2006.11239, equation 4).

    Args:
        latents: [B, 4, h, w].
        noise: [B, 4, h, w].
        alphas_cumprod: ᾱ, [T].
        timesteps: Long [B].
    """
    alpha = alphas_cumprod[timesteps][:, None, None, None]
    return alpha.sqrt() * latents + (1 - alpha).sqrt() * noise
