"""Operations of a step of the WebUI's own trainer, counted on a model of this project.

The WebUI does not freeze the UNet, so the backward pass computes the gradients of all of its weights, which nothing uses.
`modules/sd_hijack_checkpoint.py` makes it compute every residual and transformer block a second time in the backward pass.
`tests/webui/test_operations.py` compares the count with that of the trainer itself.
"""

# pyright: reportUnknownMemberType=false
# torch's and diffusers' annotations are incomplete for some methods.

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.resnet import ResnetBlock2D
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from train_embedding.engine.data.latents import Batch
from train_embedding.engine.layers.frozen import original_layers
from train_embedding.engine.model.conditioning import Conditioning
from train_embedding.engine.model.diffusion_model import DiffusionModel
from train_embedding.engine.prompts.splicing import PromptBatch
from train_embedding.engine.training.loop import unet_losses


def count_webui_step(model: DiffusionModel, resolution: int) -> int:
    """Count the operations of the UNet in a step of the WebUI's trainer with batch size 1.

    Args:
        model: A model of Stable Diffusion 1 or 2.
        resolution: Side of the image in pixels.
    """
    with FlopCounterMode(display=False) as counter, _computed_by_blocks(model.unet, counter) as blocks, torch.no_grad():
        _losses(model, resolution)
    with original_layers(model.unet), _trainable(model.unet), torch.enable_grad(), FlopCounterMode(display=False) as step:
        _losses(model, resolution).mean().backward()
    return step.get_total_flops() + sum(blocks)


def _losses(model: DiffusionModel, resolution: int) -> torch.Tensor:
    device = model.device
    prompt = torch.zeros(1, 77, model.unet.config.cross_attention_dim, device=device, requires_grad=True)
    latents = torch.zeros(1, 4, resolution // 8, resolution // 8, device=device)
    ids = torch.zeros(1, 1, 77, dtype=torch.long, device=device)
    batch = Batch(latents, PromptBatch(ids, ids), torch.Generator())
    timesteps = torch.zeros(1, dtype=torch.long, device=device)
    return unet_losses(model, Conditioning(prompt), batch, torch.zeros_like(latents), timesteps)


@contextmanager
def _computed_by_blocks(unet: nn.Module, counter: FlopCounterMode) -> Generator[list[int], None, None]:
    """Collect the operations of each residual and transformer block that is computed within the context."""
    counted: list[int] = []
    before: list[int] = []

    def enter(_block: nn.Module, _inputs: Any) -> None:
        before.append(counter.get_total_flops())

    def leave(_block: nn.Module, _inputs: Any, _output: Any) -> None:
        counted.append(counter.get_total_flops() - before.pop())

    blocks = [block for block in unet.modules() if isinstance(block, (ResnetBlock2D, BasicTransformerBlock))]
    hooks = [hook for block in blocks for hook in (block.register_forward_pre_hook(enter), block.register_forward_hook(leave))]
    try:
        yield counted
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def _trainable(unet: nn.Module) -> Generator[None, None, None]:
    unet.requires_grad_(True)
    try:
        yield
    finally:
        unet.requires_grad_(False)
        unet.zero_grad(set_to_none=True)
