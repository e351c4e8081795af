"""Weights in prompts: what `(word:1.2)` does to the text encoder's output, as in WebUI 1.10.1 with "Emphasis: Original"."""

from __future__ import annotations

import torch


def weighted_states(hidden: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """The states of each chunk times its tokens' weights, and scaled so that the chunk's mean is what it was; [N, 77, d].

    hidden: [N, 77, d]. weights: fp32 [N, 77]. Chunks whose weights are all 1 come back as they are. The WebUI takes one mean over
    all prompts that it encodes at once; here each chunk has its own, so that a prompt does not depend on the others of its batch.
    """
    exact = hidden.float()
    weighed = exact * weights.unsqueeze(-1)
    changed = (weights != 1).any(-1)[:, None, None]
    before, after = (states.mean((1, 2), keepdim=True) for states in (exact, weighed))
    factor = before / torch.where(changed, after, 1.0)  # where nothing is to be scaled, not even a mean of 0 gives a NaN
    return torch.where(changed, weighed * factor, exact).to(hidden.dtype)
