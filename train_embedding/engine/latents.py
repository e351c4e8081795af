"""Latents of the training pictures, encoded once, and the batches made of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from train_embedding.engine.captions import fill_template, mark_name, split_at_name
from train_embedding.engine.dataset import Picture
from train_embedding.engine.model import DiffusionModel, LatentMoments
from train_embedding.engine.noise import step_generator
from train_embedding.engine.placeholder import PromptBatch, Vectors, batch_prompts, tokenise
from train_embedding.engine.spec import ResolvedSpec
from train_embedding.errors import TrainingFailed

_ORDER_STEPS = 2**40
"Offset that keeps the generators of the picture order apart from those of the steps."


@dataclass(frozen=True)
class Batch:
    """What one step learns from. latents: [B, 4, h, w]; generator: the source of the step's further random numbers."""

    latents: torch.Tensor
    prompts: PromptBatch
    generator: torch.Generator


def encode_pictures(
    model: DiffusionModel, pictures: Sequence[Picture], stopped: Callable[[], bool] = lambda: False
) -> LatentMoments:
    """The posterior moments of every picture, [N, 4, h, w], on the model's device; fewer when `stopped` says so.

    Raises TrainingFailed when the VAE answers with NaN.
    """
    means: list[torch.Tensor] = []
    stds: list[torch.Tensor] = []
    for picture in pictures:
        if stopped():
            break
        moments = model.encode_images(picture.pixels.unsqueeze(0))
        means.append(moments.mean)
        stds.append(moments.std)
    if not means:
        return LatentMoments(torch.empty(0), torch.empty(0))
    mean, std = torch.cat(means), torch.cat(stds)
    if not bool(torch.isfinite(mean).all()):
        raise TrainingFailed("The VAE turned a picture into NaN.", "Use a VAE in full precision (--no-half-vae in the WebUI).")
    return LatentMoments(mean.to(model.device), std.to(model.device))


class LatentDataset:
    """Batches of cached latents with their prompts; a batch depends on the seed and the step alone."""

    def __init__(self, moments: LatentMoments, pictures: Sequence[Picture], resolved: ResolvedSpec, vectors: int) -> None:
        self._moments = moments
        self._spec = resolved.spec
        self._words = [mark_name(picture.words, self._spec.embedding) for picture in pictures]
        self._template = [mark_name(line, self._spec.embedding) for line in self._spec.template]
        self._vectors = Vectors(0, vectors)
        self._once = self._sample(torch.arange(len(self._words)), step_generator(self._spec.seed, 0))

    def batch(self, step: int) -> Batch:
        """The batch of a step, counted from 1: the next `batch_size` pictures of the shuffled epochs."""
        generator = step_generator(self._spec.seed, step)
        first = (step - 1) * self._spec.batch_size
        chosen = torch.tensor([self._picture_at(first + index) for index in range(self._spec.batch_size)])
        latents = self._sample(chosen, generator) if self._spec.latent_sampling == "random" else self._once[chosen]
        return Batch(latents, self._prompts(chosen.tolist(), step).to(latents.device), generator)

    def evaluation_batches(self, count: int, seed: int) -> list[Batch]:
        """`count` fixed items, each a picture's mean latent with a caption: the same for the same seed, whatever the step."""
        chosen = torch.arange(count) % len(self._words)
        return [Batch(self._moments.mean[chosen], self._prompts(chosen.tolist(), 0).to(self._moments.mean.device), step_generator(seed, 0))]

    def _picture_at(self, position: int) -> int:
        epoch, index = divmod(position, len(self._words))
        order = torch.randperm(len(self._words), generator=step_generator(self._spec.seed, _ORDER_STEPS + epoch))
        return int(order[index])

    def _sample(self, chosen: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        mean = self._moments.mean[chosen]
        if self._spec.latent_sampling == "deterministic":
            return mean
        noise = torch.randn(mean.shape, generator=generator).to(mean.device, non_blocking=True)
        return mean + self._moments.std[chosen] * noise

    def _prompts(self, chosen: list[int], step: int) -> PromptBatch:
        rng = random.Random(self._spec.seed * 1_000_003 + step)
        prompts = []
        for picture in chosen:
            caption = fill_template(
                rng.choice(self._template),
                self._words[picture],
                rng=rng,
                shuffle=self._spec.shuffle_tags,
                dropout=self._spec.tag_dropout,
            )
            prompts.append(tokenise(split_at_name(caption, self._spec.embedding, self._vectors)))
        return batch_prompts(prompts)
