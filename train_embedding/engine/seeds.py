"""Random generators of a run: everything random is a function of the seed and the step."""

from __future__ import annotations

import torch

BUCKET_ORDER, EVALUATION, BUCKET_ROUNDS, CONTEXT_PROMPTS = 2**40, 2**41, 2**42, 2**43
"Offsets added to a step number, so that other uses of a run's seed never share a generator with a training step."


def step_generator(seed: int, step: int) -> torch.Generator:
    """The CPU generator of one step: a run resumed at any step draws what an uninterrupted one does."""
    return torch.Generator().manual_seed((seed * 1_000_003 + step) % 2**63)
