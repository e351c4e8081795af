"""Images drawn with a DiffusionModel: diffusers' Euler scheduler with classifier-free guidance."""

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
"Texts that the text encoders read at once; a prompt that is edited often has more."


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
    """Draw one latent per prompt and seed.

    Prompts are read as WebUI 1.10.1 reads them with its default settings: weights, BREAK, prompt editing, AND, comments;
    `<lora:…>` is left out. A latent depends on its own prompt and seed only, up to the rounding of batched arithmetic. As in the
    WebUI, every prompt is padded to as many chunks of 75 tokens as the longest one has.

    Args:
        model: Draws in the number format of its weights.
        prompts: One per image.
        seeds: One per image, of its first noise.
        negative_prompt: For all images.
        steps: Sampling steps.
        guidance: Scale of classifier-free guidance; 1 for none.
        width: In pixels, a multiple of 8.
        height: In pixels, a multiple of 8.
        embeddings: Used where the WebUI would find their names. Those that do not fit the model stay words.

    Returns:
        Scaled latents, fp32 [B, 4, height / 8, width / 8].

    Raises:
        InvalidInput: The WebUI could not read a prompt.
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
    """Decode scaled latents [B, 4, h, w], such as `draw_latents` returns, to images of 8w × 8h pixels."""
    return [_to_image(pixels) for pixels in model.decode_latents(latents)]


def euler_scheduler(model: DiffusionModel, steps: int) -> EulerDiscreteScheduler:
    """Make diffusers' Euler scheduler with the model's noise schedule and the WebUI's noise levels."""
    from diffusers import EulerDiscreteScheduler

    scheduler = EulerDiscreteScheduler(len(model.alphas_cumprod), prediction_type=model.prediction_type)
    # Its constructor takes β, from which it would compute ᾱ anew in fp32; hosts hand over ᾱ itself.
    scheduler.alphas_cumprod = model.alphas_cumprod.cpu()
    sigmas: list[float] = euler_sigmas(scheduler.alphas_cumprod, steps).tolist()  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # diffusers 0.42 makes NumPy 2 arrays of tensors
        scheduler.set_timesteps(sigmas=sigmas, device=model.device)
    return scheduler


def euler_sigmas(alphas_cumprod: torch.Tensor, steps: int) -> torch.Tensor:
    """Compute the noise levels that the WebUI samples with: σ = √((1 − ᾱ)/ᾱ) at evenly spaced timesteps.

    Between two timesteps k-diffusion interpolates log σ (Karras et al. 2022, arXiv 2206.00364, in discrete form), whereas
    diffusers would interpolate σ.

    Args:
        alphas_cumprod: ᾱ of each timestep, [T].
        steps: Sampling steps.

    Returns:
        Falling noise levels and 0 at the end, [steps + 1].
    """
    log_sigmas = ((1 - alphas_cumprod) / alphas_cumprod).sqrt().log()
    times = torch.linspace(len(log_sigmas) - 1, 0, steps, device=log_sigmas.device)
    low, high = times.floor().long(), times.ceil().long()
    sigmas = torch.lerp(log_sigmas[low], log_sigmas[high], times - low).exp()
    return torch.cat([sigmas, sigmas.new_zeros(1)])


class _GuidancePlan:
    """The texts that guide each image at each step, as rows of the encoded `texts`, the negative prompt's first."""

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
        """Predict for scaled latents [B, 4, h, w], guided away from the negative prompt (Ho & Salimans 2022, arXiv 2207.12598).

        Each of the prompts that AND joins guides by its own weight (Liu et al. 2022, arXiv 2206.01714). Predictions of v are
        combined as those of ε are, since both are affine in each other.
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
        """Return the prompts of a step, and after them the negative prompt once per image."""
        first = len(self._negative.texts)
        rows: list[int] = []
        for _, part in self._parts:
            rows.append(first + part.index[step])
            first += len(part.texts)
        negative = self._negative.index[step]
        positive = encoded.map(lambda tensor: tensor[rows])
        unguided = encoded.map(lambda tensor: tensor[negative].expand(self._images, *tensor.shape[1:]))
        if encoded.pooled is not None and self._negative.texts == ("",):
            unguided = unguided.map(torch.zeros_like)  # SDXL was trained with zeros where others have an empty text
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
    """Join the vectors of all embeddings in one table per text encoder, and return it with the rows of each name."""
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
