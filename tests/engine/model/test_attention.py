"""Attention never makes the matrix of scores: neither forward nor backward, with checkpointing or without."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from tests.families import BASES, family
from train_embedding.engine.model.conditioning import Conditioning
from train_embedding.engine.model.diffusion_model import DiffusionModel
from train_embedding.engine.runtime.gradient_checkpointing import gradient_checkpointing

SIDE = 24
"Of the latents. No layer has as many channels as a level has places, so that scores are known by their shape."
TOKENS = 77


class Scores(AssertionError):
    """A tensor of the size of the scores was made."""


class NoScores(TorchDispatchMode):
    """Raises Scores for a tensor [..., N, N] or [..., N, 77] over the places of a level, or its transpose."""

    def __init__(self) -> None:
        super().__init__()
        places = [(SIDE >> level) ** 2 for level in range(3)]
        pairs = [pair for count in places for pair in ((count, count), (count, TOKENS), (TOKENS, count))]
        self._shapes = set(pairs)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_flatten(result)[0]:
            if isinstance(tensor, torch.Tensor) and tuple(tensor.shape[-2:]) in self._shapes:
                raise Scores(f"{func} makes {tuple(tensor.shape)}")
        return result


def step(model: DiffusionModel) -> None:
    pooled = torch.zeros(1, 96, requires_grad=True) if model.unet.config.addition_embed_type else None
    context = torch.zeros(1, TOKENS, model.unet.config.cross_attention_dim, requires_grad=True)
    with NoScores():
        output = model.predict(torch.zeros(1, 4, SIDE, SIDE), torch.tensor([500]), Conditioning(context, pooled))
        output.square().mean().backward()
    assert context.grad is not None


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("variant", BASES)
def test_no_scores(variant: str, checkpointing: bool) -> None:
    model = family(variant).model()
    with gradient_checkpointing(model) if checkpointing else nullcontext():
        step(model)


@pytest.mark.parametrize("variant", BASES)
def test_they_would_be_noticed(variant: str) -> None:
    model = family(variant).model()
    model.unet.set_attn_processor(AttnProcessor())
    with pytest.raises(Scores):
        step(model)
