"""Random generators of a run. All randomness is a function of the seed and the step."""

from __future__ import annotations

import torch

BUCKET_ORDER, EVALUATION, BUCKET_ROUNDS, CONTEXT_PROMPTS = 2**40, 2**41, 2**42, 2**43
"Offsets of the step number for other uses of the seed, so that none of them shares a generator with a training step."


def step_generator(seed: int, step: int) -> torch.Generator:
    """Make the CPU generator of a step. A resumed run thus uses the same random numbers as an uninterrupted run."""
    return torch.Generator().manual_seed((seed * 1_000_003 + step) % 2**63)
