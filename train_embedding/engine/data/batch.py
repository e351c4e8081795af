"""What one training step learns from."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from train_embedding.engine.model.conditioning import Conditioning
from train_embedding.engine.prompts.splicing import PromptBatch


@dataclass(frozen=True)
class Batch:
    """What one step learns from; all of one size.

    latents: [B, 4, h, w]. generator: the source of the step's further random numbers. weights: [B, h, w], how much each place
    counts, or None where all count alike.
    """

    latents: torch.Tensor
    prompts: PromptBatch
    generator: torch.Generator
    weights: torch.Tensor | None = None
    teacher: Conditioning | None = None
    "Prompts whose predictions are the target, where a prompt is distilled."
    share: slice = field(default_factory=lambda: slice(None))
    "The rows that this process computes. Random numbers are drawn for all, so that a row's do not depend on who computes it."

    def rows(self, rows: slice) -> Batch:
        """Some of its items, with the same generator."""
        weights = None if self.weights is None else self.weights[rows]
        teacher = None if self.teacher is None else self.teacher.each(lambda tensor: tensor[rows])
        return Batch(self.latents[rows], self.prompts.rows(rows), self.generator, weights, teacher)
