"""Evaluation losses, which always use the same latents, noise, timesteps and prompts, so that only the vectors differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from train_embedding.engine.data.captions import batch_captions
from train_embedding.engine.data.latents import Batch, LatentDataset
from train_embedding.engine.model.conditioning import Conditioning
from train_embedding.engine.model.diffusion_model import DiffusionModel
from train_embedding.engine.prompts.splicing import PromptBatch, VectorRows
from train_embedding.engine.seeds import EVALUATION, step_generator
from train_embedding.engine.training.loop import denoising_losses

_ITEMS_PER_BATCH = 16


@dataclass(frozen=True)
class EvaluationSet:
    """K evaluation items of one size.

    Attributes:
        latents: [K, 4, h, w].
        noise: [K, 4, h, w].
        timesteps: Long [K].
        prompts: K prompts.
        weights: Loss weight of each position, [K, h, w]; None if all are equal.
        teacher: Conditioning whose predictions are the target of distillation, K rows; None for training on images.
    """

    latents: torch.Tensor
    noise: torch.Tensor
    timesteps: torch.Tensor
    prompts: PromptBatch
    weights: torch.Tensor | None = None
    teacher: Conditioning | None = None


def evaluation_set(
    model: DiffusionModel, latents: torch.Tensor, captions: Sequence[str], name: str, vectors: int, *, repeats: int, seed: int
) -> EvaluationSet:
    """Make K = N · `repeats` items of N images, with timesteps stratified over the schedule and separate noise.

    Args:
        model: The model, for its noise schedule.
        latents: [N, 4, h, w].
        captions: Caption of each image, with `[name]` or the name of the embedding.
        name: Name of the embedding.
        vectors: Number of vectors of the embedding.
        repeats: Items per image.
        seed: Seed of noise and timesteps.
    """
    generator = torch.Generator().manual_seed(seed)
    repeated = latents.repeat_interleave(repeats, 0)
    count = len(repeated)
    strata = (torch.arange(count) % repeats + torch.rand(count, generator=generator)) / repeats
    repeated_captions = [caption for caption in captions for _ in range(repeats)]
    return EvaluationSet(
        latents=repeated,
        noise=torch.randn(repeated.shape, generator=generator).to(latents.device),
        timesteps=(strata * len(model.alphas_cumprod)).long().to(latents.device),
        prompts=batch_captions(repeated_captions, name, VectorRows(0, vectors)).to(latents.device),
    )


def dataset_evaluation_sets(model: DiffusionModel, dataset: LatentDataset, count: int, seed: int) -> list[EvaluationSet]:
    """Make evaluation items of the training images, with timesteps stratified over the schedule.

    They depend on the dataset, the count and the seed only.

    Args:
        model: The model, for its noise schedule.
        dataset: The training images.
        count: Number of items in all sets together.
        seed: Seed of the choice of images, the noise and the timesteps.

    Returns:
        One set or more for each size of images.
    """
    batches = dataset.evaluation_batches(count, seed)
    total = sum(len(batch.latents) for batch in batches)
    generator = step_generator(seed, EVALUATION)
    strata = (torch.randperm(total, generator=generator) + torch.rand(total, generator=generator)) / total
    timesteps = (strata * len(model.alphas_cumprod)).long()
    items: list[EvaluationSet] = []
    for batch in batches:
        mine, timesteps = timesteps[: len(batch.latents)], timesteps[len(batch.latents) :]
        noise = torch.randn(batch.latents.shape, generator=batch.generator).to(batch.latents.device)
        items.append(
            EvaluationSet(batch.latents, noise, mine.to(batch.latents.device), batch.prompts, batch.weights, batch.teacher)
        )
    return items


@torch.no_grad()
def evaluation_losses(model: DiffusionModel, vectors: dict[str, torch.Tensor], items: EvaluationSet) -> torch.Tensor:
    """Compute the loss of each item, [K].

    Args:
        model: The frozen model.
        vectors: [n, d] per text encoder, on the device of the model.
        items: The evaluation items.
    """
    batch = Batch(items.latents, items.prompts, torch.Generator(), items.weights, items.teacher)
    losses: list[torch.Tensor] = []
    for start in range(0, len(items.latents), _ITEMS_PER_BATCH):
        part = slice(start, start + _ITEMS_PER_BATCH)
        losses.append(denoising_losses(model, vectors, batch.select(part), items.noise[part], items.timesteps[part]))
    return torch.cat(losses)
