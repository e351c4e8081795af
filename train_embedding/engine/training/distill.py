"""Distilling a prompt: vectors with which the model predicts what it predicts for a long text. No images are needed."""

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
"Half of them drawn from the teacher's prompt and half from none, so that the embedding serves as a negative prompt too."
_AT_ONCE = 4
_STEPS, _GUIDANCE = 20, 5.0


@torch.no_grad()
def encode_teacher(model: DiffusionModel, prompt: str) -> Conditioning:
    """The prompt as the UNet sees it, of one item: weights and BREAK act, and it may be longer than 75 tokens.

    Raises InvalidInput for a prompt that is more than one text.
    """
    reading = PromptTokenizer().tokenize(single_text(prompt))
    return model.encode_prompts(batch_tokenized([reading]).to(model.device), empty_vector_tables(model))


def sample_teacher_latents(model: DiffusionModel, resolved: ResolvedSpec, stopped: Callable[[], bool]) -> list[EncodedImage]:
    """Latents that the predictions are compared on, drawn by the model itself; fewer when `stopped` says so."""
    spec = resolved.spec
    scenes: list[EncodedImage] = []
    for start in range(0, LATENTS, _AT_ONCE):
        if stopped():
            break
        from_teacher = start < LATENTS // 2
        latents = draw_latents(
            model,
            [spec.teacher_prompt if from_teacher else ""] * _AT_ONCE,
            [spec.seed * LATENTS + start + index for index in range(_AT_ONCE)],
            steps=_STEPS,
            guidance=_GUIDANCE if from_teacher else 1.0,
            width=resolved.width,
            height=resolved.height,
        )
        for index, latent in enumerate(latents.float().cpu(), start):
            size = (resolved.width, resolved.height)
            image = TrainingImage(f"scene {index + 1}", Path(), "", size, size)
            scenes.append(EncodedImage(image, LatentMoments(latent, torch.zeros_like(latent))))
    return scenes


def distillation_spec(resolved: ResolvedSpec) -> ResolvedSpec:
    """The spec with captions that are the embedding alone, and nothing that images of a folder would need."""
    spec = replace(resolved.spec, template=("[name]",), random_flip=False, latent_sampling="deterministic")
    return replace(resolved, spec=spec)
