"""Noise levels and noise of a training step; all randomness is a function of the seed and the step."""

from __future__ import annotations

import torch

from train_embedding.engine.devices import as_float64

LEAST_SIGNAL = 4.8973451890853435e-08
"ᾱ where there is noise alone: the WebUI's value in place of 0, so that the noise level is finite."
FOCUS = (0.5, 0.9)
"The part of the schedule that the shifted policy draws from most, where a subject is learned (ZOODiP, arXiv 2503.14868)."


def noise_schedule(start: float, end: float, timesteps: int) -> torch.Tensor:
    """ᾱ_t = Π (1 − β), with √β linear from √start to √end, as in latent diffusion (Rombach et al. 2022); fp32 [timesteps]."""
    betas = torch.linspace(start**0.5, end**0.5, timesteps, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, 0).float()


def zero_terminal_snr(alphas_cumprod: torch.Tensor) -> torch.Tensor:
    """√ᾱ shifted and scaled so that the last timestep is noise alone (Lin et al. 2024, algorithm 1); [T].

    The last value is not 0 but LEAST_SIGNAL.
    """
    root = as_float64(alphas_cumprod).sqrt()
    squared = ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2
    squared[-1] = LEAST_SIGNAL
    return squared.float().to(alphas_cumprod.device)


def draw_timesteps(policy: str, count: int, timesteps: int, generator: torch.Generator, focus: float = 0.8) -> torch.Tensor:
    """Timesteps, long [count], 0…timesteps − 1.

    "uniform": independent and uniform. "stratified": uniform, one from each of `count` equal parts of the schedule. "shifted":
    stratified likewise, from a density that is uniform with the share `focus` of its mass, 0…1, moved into FOCUS; the rest is a
    tail over the full range, for texture.
    """
    if policy == "uniform":
        return torch.randint(timesteps, (count,), generator=generator)
    strata = (torch.randperm(count, generator=generator) + torch.rand(count, generator=generator)) / count
    levels = strata if policy == "stratified" else _shifted_quantile(strata, focus)
    return (levels * timesteps).long().clamp(max=timesteps - 1)


def _shifted_quantile(probability: torch.Tensor, mass: float) -> torch.Tensor:
    """Inverse of the shifted policy's distribution function, which is linear in three parts; two of them vanish at mass 1."""
    low, high = FOCUS
    tail = 1 - mass
    below, inside = tail * low, mass + tail * (high - low)
    first = probability / max(tail, 1e-12)
    second = low + (probability - below) * (high - low) / inside
    third = high + (probability - below - inside) / max(tail, 1e-12)
    return torch.where(probability < below, first, torch.where(probability < below + inside, second, third))


def add_noise(latents: torch.Tensor, noise: torch.Tensor, alphas_cumprod: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
    """√ᾱ_t · latents + √(1 − ᾱ_t) · noise (Ho et al. 2020, equation 4). latents, noise: [B, 4, h, w]; timesteps: [B]."""
    alpha = alphas_cumprod[timesteps][:, None, None, None]
    return alpha.sqrt() * latents + (1 - alpha).sqrt() * noise
