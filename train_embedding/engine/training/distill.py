"""Prompt distillation: training on a long prompt instead of images, so that the model predicts the same for the vectors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from train_embedding.engine.config.spec import ResolvedSpec
from train_embedding.engine.data.image_folder import TrainingImage
from train_embedding.engine.data.latents import EncodedImage
from train_embedding.engine.model.conditioning import Conditioning
from train_embedding.engine.model.diffusion_model import DiffusionModel, LatentMoments, empty_vector_tables
from train_embedding.engine.prompts.encoding import PromptTokenizer, batch_tokenized
from train_embedding.engine.prompts.prompt_editing import single_text
from train_embedding.engine.sampling import draw_latents

LATENTS = 32
"Number of sampled latents: half from the teacher prompt, half from an empty prompt, for use as a negative prompt."
_IMAGES_PER_BATCH = 4
_STEPS, _GUIDANCE = 20, 5.0


@torch.no_grad()
def encode_teacher(model: DiffusionModel, prompt: str) -> Conditioning:
    """Encode the teacher prompt as a batch of 1. It may have weights, BREAK and more than 75 tokens.

    Raises:
        InvalidInput: The prompt contains AND or prompt editing.
    """
    tokenized = PromptTokenizer().tokenize(single_text(prompt))
    return model.encode_prompts(batch_tokenized([tokenized]).to(model.device), empty_vector_tables(model))


def sample_teacher_latents(model: DiffusionModel, resolved: ResolvedSpec, stopped: Callable[[], bool]) -> list[EncodedImage]:
    """Sample the latents for distillation with the model itself.

    Args:
        model: The model.
        resolved: The options of the run.
        stopped: Called before each batch; sampling ends when it returns True.
    """
    spec = resolved.spec
    encoded: list[EncodedImage] = []
    for start in range(0, LATENTS, _IMAGES_PER_BATCH):
        if stopped():
            break
        from_teacher = start < LATENTS // 2
        latents = draw_latents(
            model,
            [spec.teacher_prompt if from_teacher else ""] * _IMAGES_PER_BATCH,
            [spec.seed * LATENTS + start + index for index in range(_IMAGES_PER_BATCH)],
            steps=_STEPS,
            guidance=_GUIDANCE if from_teacher else 1.0,
            width=resolved.width,
            height=resolved.height,
        )
        for index, latent in enumerate(latents.float().cpu(), start):
            size = (resolved.width, resolved.height)
            image = TrainingImage(f"scene {index + 1}", Path(), "", size, size)
            encoded.append(EncodedImage(image, LatentMoments(latent, torch.zeros_like(latent))))
    return encoded


def distillation_spec(resolved: ResolvedSpec) -> ResolvedSpec:
    """Replace the options for images; the caption is the embedding only."""
    spec = replace(resolved.spec, template=("[name]",), random_flip=False, latent_sampling="deterministic")
    return replace(resolved, spec=spec)
