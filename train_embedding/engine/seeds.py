"""Random generators of a run: all randomness is a function of the seed and the step."""

from __future__ import annotations

import torch

BUCKET_ORDER, EVALUATION, BUCKET_ROUNDS, CONTEXT_PROMPTS = 2**40, 2**41, 2**42, 2**43
"Offsets of step numbers, so that other uses of a run's seed never share a generator with a training step."


def step_generator(seed: int, step: int) -> torch.Generator:
    """Make the CPU generator of a step, so that a resumed run draws the same numbers as an uninterrupted one."""
    return torch.Generator().manual_seed((seed * 1_000_003 + step) % 2**63)
