"""Draws pictures with a DiffusionModel: Euler's method with classifier-free guidance."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from PIL import Image

from train_embedding.embeddings.embedding import Embedding
from train_embedding.engine.captions import split_at_names
from train_embedding.engine.conditioning import Conditioning
from train_embedding.engine.model import DiffusionModel, no_vectors
from train_embedding.engine.placeholder import Vectors, batch_prompts, tokenise


@torch.no_grad()
def draw_latents(
    model: DiffusionModel,
    prompts: Sequence[str],
    seeds: Sequence[int],
    *,
    negative_prompt: str = "",
    steps: int = 20,
    guidance: float = 7.0,
    width: int,
    height: int,
    embeddings: Sequence[Embedding] = (),
) -> torch.Tensor:
    """One latent, [B, 4, height / 8, width / 8], per prompt and seed. Embeddings act where their names stand as whole words.

    A picture depends on its own prompt and seed alone, not on the others drawn with it, up to the rounding of batched arithmetic
    and save that every prompt gets as many chunks of 75 tokens as the longest one, as in the WebUI.
    """
    tables, names = _tables(model, embeddings)
    texts = [negative_prompt, *prompts]
    batch = batch_prompts([tokenise(split_at_names(text, names)) for text in texts]).to(model.device)
    encoded = model.context(batch, tables).to(model.dtype)
    positive = encoded.each(lambda rows: rows[1:])
    negative = encoded.each(lambda rows: rows[:1].expand(len(prompts), *rows.shape[1:]))
    if encoded.pooled is not None and not negative_prompt:  # SDXL was trained with zeros where others have an empty text
        negative = negative.each(torch.zeros_like)
    both = positive + negative
    sigmas = euler_sigmas(model.alphas_cumprod, steps)
    latents = _start_noise(seeds, width, height).to(model.device) * sigmas[0]
    for sigma, next_sigma in pairwise(sigmas):
        noise = _guided_noise(model, latents, sigma, both, guidance)
        latents = latents + noise * (next_sigma - sigma)
    return latents


def pictures_of(model: DiffusionModel, latents: torch.Tensor) -> list[Image.Image]:
    """Latents [B, 4, h, w], such as `draw_latents` gives, as pictures of 8h × 8w pixels."""
    return [_picture(pixels) for pixels in model.decode_latents(latents)]


def euler_sigmas(alphas_cumprod: torch.Tensor, steps: int) -> torch.Tensor:
    """Noise levels σ = √((1 − ᾱ)/ᾱ) of `steps` evenly spaced timesteps, falling, and 0 at the end; [steps + 1].

    Karras et al. 2022 in the discrete form of k-diffusion, which the WebUI draws with.
    """
    log_sigmas = ((1 - alphas_cumprod) / alphas_cumprod).sqrt().log()
    times = torch.linspace(len(log_sigmas) - 1, 0, steps, device=log_sigmas.device)
    low, high = times.floor().long(), times.ceil().long()
    sigmas = torch.lerp(log_sigmas[low], log_sigmas[high], times - low).exp()
    return torch.cat([sigmas, sigmas.new_zeros(1)])


def _guided_noise(
    model: DiffusionModel, latents: torch.Tensor, sigma: torch.Tensor, prompts: Conditioning, guidance: float
) -> torch.Tensor:
    """The noise in latents [B, 4, h, w] of level σ, moved away from the negative prompt (Ho & Salimans 2022).

    prompts: of 2B items, first those to follow, then those to leave.
    """
    scaled = (latents / (sigma**2 + 1).sqrt()).to(model.dtype)
    twice = torch.cat([scaled, scaled])
    timesteps = _timestep_of(model.alphas_cumprod, sigma).expand(len(twice))
    prediction = model.predict(twice, timesteps, prompts).float()
    if model.prediction_type == "v_prediction":  # ε = (v + x · σ/√(σ² + 1)) / √(σ² + 1) for x of unit variance
        prediction = (prediction + twice.float() * sigma) / (sigma**2 + 1).sqrt()
    with_prompt, without = prediction.chunk(2)
    return without + guidance * (with_prompt - without)


def _timestep_of(alphas_cumprod: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """The timestep, a float between two of the schedule's, whose noise level is σ; interpolated in log σ."""
    log_sigmas = ((1 - alphas_cumprod) / alphas_cumprod).sqrt().log()
    high = torch.searchsorted(log_sigmas, sigma.log()).clamp(1, len(log_sigmas) - 1)
    low = high - 1
    part = (sigma.log() - log_sigmas[low]) / (log_sigmas[high] - log_sigmas[low])
    return (low + part.clamp(0, 1)).to(alphas_cumprod.dtype)


def _tables(model: DiffusionModel, embeddings: Sequence[Embedding]) -> tuple[dict[str, torch.Tensor], list[tuple[str, Vectors]]]:
    """All embeddings' vectors in one table per text encoder, and where each name's rows are."""
    fitting = [embedding for embedding in embeddings if embedding.widths == model.widths]
    if not fitting:
        return no_vectors(model), []
    tables = {key: torch.cat([embedding.vectors[key] for embedding in fitting]).to(model.device) for key in model.widths}
    names: list[tuple[str, Vectors]] = []
    first = 0
    for embedding in fitting:
        names.append((embedding.name, Vectors(first, embedding.count)))
        first += embedding.count
    return tables, names


def _start_noise(seeds: Sequence[int], width: int, height: int) -> torch.Tensor:
    return torch.stack([torch.randn(4, height // 8, width // 8, generator=torch.Generator().manual_seed(seed)) for seed in seeds])


def _picture(pixels: torch.Tensor) -> Image.Image:
    array = ((pixels.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    return Image.fromarray(np.ascontiguousarray(array))
