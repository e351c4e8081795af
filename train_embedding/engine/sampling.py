"""Sampling of images with a DiffusionModel: the Euler scheduler of diffusers with classifier-free guidance."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from train_embedding.embeddings.embedding import Embedding
from train_embedding.engine.model.conditioning import Conditioning
from train_embedding.engine.model.diffusion_model import DiffusionModel, empty_vector_tables
from train_embedding.engine.prompts.encoding import PromptTokenizer, batch_tokenized
from train_embedding.engine.prompts.prompt_editing import ScheduledPrompt, schedule_negative_prompt, schedule_prompt
from train_embedding.engine.prompts.splicing import VectorRows

if TYPE_CHECKING:
    from diffusers import EulerDiscreteScheduler

_TEXTS_PER_BATCH = 64
"Largest number of texts encoded at once. Prompt editing can produce more."


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
    """Sample one latent per prompt and seed.

    Prompts have the syntax of WebUI 1.10.1 with default settings: weights, BREAK, prompt editing, AND and comments. `<lora:…>` is
    ignored. A latent depends on its own prompt and seed only, except for rounding. As in the WebUI, all prompts are padded to the
    same number of chunks of 75 tokens.

    Args:
        model: The model. It computes in the dtype of its weights.
        prompts: One prompt per image.
        seeds: Seed of the initial noise of each image.
        negative_prompt: Negative prompt of all images.
        steps: Sampling steps.
        guidance: Scale of classifier-free guidance; 1 for none.
        width: Width in pixels, a multiple of 8.
        height: Height in pixels, a multiple of 8.
        embeddings: Embeddings that prompts can name. Names of embeddings that do not fit the model are plain words.

    Returns:
        Scaled latents, fp32 [B, 4, height / 8, width / 8].

    Raises:
        InvalidInput: A prompt cannot be parsed.
    """
    tables, names = _vector_tables(model, embeddings)
    guidance_plan = _GuidancePlan(
        schedule_negative_prompt(negative_prompt, steps), [schedule_prompt(prompt, steps) for prompt in prompts], guidance
    )
    encoded = _encode_texts(model, guidance_plan.texts(), tables, names)
    scheduler = euler_scheduler(model, steps)
    latents = _initial_noise(seeds, width, height).to(model.device) * scheduler.sigmas[0]
    for step, timestep in enumerate(scheduler.timesteps):
        scaled = scheduler.scale_model_input(latents, timestep)
        prediction = guidance_plan.predict(model, scaled, timestep, encoded, step)
        latents = scheduler.step(prediction, timestep, latents).prev_sample
    return latents


def decode_to_images(model: DiffusionModel, latents: torch.Tensor) -> list[Image.Image]:
    """Decode scaled latents [B, 4, h, w], as returned by `draw_latents`, to images of 8w × 8h pixels."""
    return [_to_image(pixels) for pixels in model.decode_latents(latents)]


def euler_scheduler(model: DiffusionModel, steps: int) -> EulerDiscreteScheduler:
    """Make the Euler scheduler of diffusers with the noise schedule of the model and the noise levels of the WebUI."""
    from diffusers import EulerDiscreteScheduler

    scheduler = EulerDiscreteScheduler(len(model.alphas_cumprod), prediction_type=model.prediction_type)
    # The constructor takes β and computes ᾱ in fp32, but hosts provide ᾱ.
    scheduler.alphas_cumprod = model.alphas_cumprod.cpu()
    sigmas: list[float] = euler_sigmas(scheduler.alphas_cumprod, steps).tolist()  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # diffusers 0.42 makes NumPy 2 arrays of tensors
        scheduler.set_timesteps(sigmas=sigmas, device=model.device)
    return scheduler


def euler_sigmas(alphas_cumprod: torch.Tensor, steps: int) -> torch.Tensor:
    """Compute the noise levels of the WebUI's samplers: σ = √((1 − ᾱ)/ᾱ) at evenly spaced timesteps.

    Between two timesteps, k-diffusion interpolates log σ (a discrete form of Karras et al. 2022, arXiv 2206.00364), while
    diffusers interpolates σ.

    Args:
        alphas_cumprod: ᾱ of each timestep, [T].
        steps: Sampling steps.

    Returns:
        Decreasing noise levels, followed by 0, [steps + 1].
    """
    log_sigmas = ((1 - alphas_cumprod) / alphas_cumprod).sqrt().log()
    times = torch.linspace(len(log_sigmas) - 1, 0, steps, device=log_sigmas.device)
    low, high = times.floor().long(), times.ceil().long()
    sigmas = torch.lerp(log_sigmas[low], log_sigmas[high], times - low).exp()
    return torch.cat([sigmas, sigmas.new_zeros(1)])


class _GuidancePlan:
    """The texts that each image uses in each step, as rows of the encoded `texts`, starting with those of the negative prompt."""

    def __init__(self, negative: ScheduledPrompt, prompts: Sequence[Sequence[ScheduledPrompt]], guidance: float) -> None:
        self._parts = [(image, part) for image, parts in enumerate(prompts) for part in parts]
        self._negative = negative
        self._images = len(prompts)
        self._guidance = guidance

    def texts(self) -> list[str]:
        return [text for scheduled in (self._negative, *(part for _, part in self._parts)) for text in scheduled.texts]

    def predict(
        self, model: DiffusionModel, scaled: torch.Tensor, timestep: torch.Tensor, encoded: Conditioning, step: int
    ) -> torch.Tensor:
        """Predict with classifier-free guidance for scaled latents [B, 4, h, w] (Ho & Salimans 2022, arXiv 2207.12598).

        Prompts that AND combines each have their own weight (Liu et al. 2022, arXiv 2206.01714). Predictions of v are combined in
        the same way as predictions of ε, because v is an affine function of ε.
        """
        images = torch.tensor([image for image, _ in self._parts], device=scaled.device)
        scaled = scaled.to(model.dtype)
        inputs = torch.cat([scaled[images], scaled])
        prediction = model.predict(inputs, timestep.expand(len(inputs)), self._conditioning(encoded, step)).float()
        with_prompts, unguided = prediction[: len(images)], prediction[len(images) :]
        weights = torch.tensor([part.weight for _, part in self._parts], device=scaled.device)[:, None, None, None]
        directions = torch.zeros_like(unguided).index_add(0, images, weights * (with_prompts - unguided[images]))
        return unguided + self._guidance * directions

    def _conditioning(self, encoded: Conditioning, step: int) -> Conditioning:
        """Return the prompts of a step, followed by the negative prompt once per image."""
        first = len(self._negative.texts)
        rows: list[int] = []
        for _, part in self._parts:
            rows.append(first + part.index[step])
            first += len(part.texts)
        negative = self._negative.index[step]
        positive = encoded.map(lambda tensor: tensor[rows])
        unguided = encoded.map(lambda tensor: tensor[negative].expand(self._images, *tensor.shape[1:]))
        if encoded.pooled is not None and self._negative.texts == ("",):
            unguided = unguided.map(torch.zeros_like)  # SDXL was trained with zeros in place of an empty text
        return positive + unguided


def _encode_texts(
    model: DiffusionModel, texts: Sequence[str], tables: Mapping[str, torch.Tensor], names: Sequence[tuple[str, VectorRows]]
) -> Conditioning:
    tokenizer = PromptTokenizer(names)
    batch = batch_tokenized([tokenizer.tokenize(text) for text in texts]).to(model.device)
    starts = range(0, len(texts), _TEXTS_PER_BATCH)
    parts = [model.encode_prompts(batch.select(slice(start, start + _TEXTS_PER_BATCH)), tables) for start in starts]
    encoded = parts[0]
    for part in parts[1:]:
        encoded = encoded + part
    return encoded.to(model.dtype)


def _vector_tables(
    model: DiffusionModel, embeddings: Sequence[Embedding]
) -> tuple[dict[str, torch.Tensor], list[tuple[str, VectorRows]]]:
    """Combine the vectors of all embeddings into a table per text encoder. Return the tables, and the rows of each name."""
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


def _initial_noise(seeds: Sequence[int], width: int, height: int) -> torch.Tensor:
    return torch.stack([torch.randn(4, height // 8, width // 8, generator=torch.Generator().manual_seed(seed)) for seed in seeds])


def _to_image(pixels: torch.Tensor) -> Image.Image:
    array = ((pixels.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    return Image.fromarray(np.ascontiguousarray(array))
