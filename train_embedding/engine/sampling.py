"""Draws images with a DiffusionModel: Euler's method with classifier-free guidance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import torch
from PIL import Image

from train_embedding.embeddings.embedding import Embedding
from train_embedding.engine.model.conditioning import Conditioning
from train_embedding.engine.model.diffusion_model import DiffusionModel, empty_vector_tables
from train_embedding.engine.prompts.encoding import PromptTokenizer, batch_tokenized
from train_embedding.engine.prompts.prompt_editing import ScheduledPrompt, schedule_negative_prompt, schedule_prompt
from train_embedding.engine.prompts.splicing import VectorRows

_TEXTS_AT_ONCE = 64
"Texts in one run of the text encoders, of a prompt that changes often."


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
    """One latent, [B, 4, height / 8, width / 8], per prompt and seed.

    Prompts are read as WebUI 1.10.1 reads them with its default settings: weights, BREAK, changes over the sampling steps, AND,
    comments; `<lora:…>` is left out. Embeddings act where the WebUI would find their names.

    An image depends on its own prompt and seed alone, not on the others drawn with it, up to the rounding of batched arithmetic
    and save that every prompt gets as many chunks of 75 tokens as the longest one, as in the WebUI. Raises InvalidInput for a
    prompt that the WebUI cannot read.
    """
    tables, names = _tables(model, embeddings)
    guide = _Guide(
        schedule_negative_prompt(negative_prompt, steps), [schedule_prompt(prompt, steps) for prompt in prompts], guidance
    )
    encoded = _encoded(model, guide.texts(), tables, names)
    sigmas = euler_sigmas(model.alphas_cumprod, steps)
    latents = _start_noise(seeds, width, height).to(model.device) * sigmas[0]
    for step, (sigma, next_sigma) in enumerate(pairwise(sigmas)):
        noise = guide.noise(model, latents, sigma, encoded, step)
        latents = latents + noise * (next_sigma - sigma)
    return latents


def decode_to_images(model: DiffusionModel, latents: torch.Tensor) -> list[Image.Image]:
    """Latents [B, 4, h, w], such as `draw_latents` gives, as images of 8h × 8w pixels."""
    return [_to_image(pixels) for pixels in model.decode_latents(latents)]


def euler_sigmas(alphas_cumprod: torch.Tensor, steps: int) -> torch.Tensor:
    """Noise levels σ = √((1 − ᾱ)/ᾱ) of `steps` evenly spaced timesteps, falling, and 0 at the end; [steps + 1].

    Karras et al. 2022 in the discrete form of k-diffusion, which the WebUI draws with.
    """
    log_sigmas = ((1 - alphas_cumprod) / alphas_cumprod).sqrt().log()
    times = torch.linspace(len(log_sigmas) - 1, 0, steps, device=log_sigmas.device)
    low, high = times.floor().long(), times.ceil().long()
    sigmas = torch.lerp(log_sigmas[low], log_sigmas[high], times - low).exp()
    return torch.cat([sigmas, sigmas.new_zeros(1)])


class _Guide:
    """Which texts guide which image at which step; their rows are those of `texts`, the negative prompt's first."""

    def __init__(self, negative: ScheduledPrompt, prompts: Sequence[Sequence[ScheduledPrompt]], guidance: float) -> None:
        self._parts = [(owner, part) for owner, parts in enumerate(prompts) for part in parts]
        self._negative = negative
        self._images = len(prompts)
        self._guidance = guidance

    def texts(self) -> list[str]:
        return [text for planned in (self._negative, *(part for _, part in self._parts)) for text in planned.texts]

    def noise(
        self, model: DiffusionModel, latents: torch.Tensor, sigma: torch.Tensor, encoded: Conditioning, step: int
    ) -> torch.Tensor:
        """The noise in latents [B, 4, h, w] of level σ, moved away from the negative prompt (Ho & Salimans 2022).

        Each of the prompts that AND joins moves it by its own weight (Liu et al. 2022). encoded: of the rows of `texts`.
        """
        owners = torch.tensor([owner for owner, _ in self._parts], device=latents.device)
        scaled = (latents / (sigma**2 + 1).sqrt()).to(model.dtype)
        noisy = torch.cat([scaled[owners], scaled])
        timesteps = _timestep_of(model.alphas_cumprod, sigma).expand(len(noisy))
        prediction = model.predict(noisy, timesteps, self._conditioning(encoded, step)).float()
        if model.prediction_type == "v_prediction":  # ε = (v + x · σ/√(σ² + 1)) / √(σ² + 1) for x of unit variance
            prediction = (prediction + noisy.float() * sigma) / (sigma**2 + 1).sqrt()
        with_prompts, without = prediction.split([len(owners), len(latents)])
        weights = torch.tensor([part.weight for _, part in self._parts], device=latents.device)[:, None, None, None]
        moves = torch.zeros_like(without).index_add(0, owners, weights * (with_prompts - without[owners]))
        return without + self._guidance * moves

    def _conditioning(self, encoded: Conditioning, step: int) -> Conditioning:
        """The prompts of a step: those to follow, and then for each image the negative one."""
        first = len(self._negative.texts)
        rows: list[int] = []
        for _, part in self._parts:
            rows.append(first + part.index[step])
            first += len(part.texts)
        negative = self._negative.index[step]
        positive = encoded.map(lambda tensor: tensor[rows])
        left = encoded.map(lambda tensor: tensor[negative].expand(self._images, *tensor.shape[1:]))
        if encoded.pooled is not None and self._negative.texts == ("",):
            left = left.map(torch.zeros_like)  # SDXL was trained with zeros where others have an empty text
        return positive + left


def _encoded(
    model: DiffusionModel, texts: Sequence[str], tables: Mapping[str, torch.Tensor], names: Sequence[tuple[str, VectorRows]]
) -> Conditioning:
    reader = PromptTokenizer(names)
    batch = batch_tokenized([reader.read(text) for text in texts]).to(model.device)
    starts = range(0, len(texts), _TEXTS_AT_ONCE)
    parts = [model.encode_prompts(batch.select(slice(start, start + _TEXTS_AT_ONCE)), tables) for start in starts]
    whole = parts[0]
    for part in parts[1:]:
        whole = whole + part
    return whole.to(model.dtype)


def _timestep_of(alphas_cumprod: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """The timestep, a float between two of the schedule's, whose noise level is σ; interpolated in log σ."""
    log_sigmas = ((1 - alphas_cumprod) / alphas_cumprod).sqrt().log()
    high = torch.searchsorted(log_sigmas, sigma.log()).clamp(1, len(log_sigmas) - 1)
    low = high - 1
    part = (sigma.log() - log_sigmas[low]) / (log_sigmas[high] - log_sigmas[low])
    return (low + part.clamp(0, 1)).to(alphas_cumprod.dtype)


def _tables(
    model: DiffusionModel, embeddings: Sequence[Embedding]
) -> tuple[dict[str, torch.Tensor], list[tuple[str, VectorRows]]]:
    """All embeddings' vectors in one table per text encoder, and where each name's rows are."""
    fitting = [embedding for embedding in embeddings if embedding.widths == model.widths]
    if not fitting:
        return empty_vector_tables(model), []
    tables = {key: torch.cat([embedding.vectors[key] for embedding in fitting]).to(model.device) for key in model.widths}
    names: list[tuple[str, VectorRows]] = []
    first = 0
    for embedding in fitting:
        names.append((embedding.name, VectorRows(first, embedding.count)))
        first += embedding.count
    return tables, names


def _start_noise(seeds: Sequence[int], width: int, height: int) -> torch.Tensor:
    return torch.stack([torch.randn(4, height // 8, width // 8, generator=torch.Generator().manual_seed(seed)) for seed in seeds])


def _to_image(pixels: torch.Tensor) -> Image.Image:
    array = ((pixels.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    return Image.fromarray(np.ascontiguousarray(array))
