"""The number formats of a step: what frozen networks compute in, and how small gradients survive it."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from train_embedding.engine.model import DiffusionModel

FP16_SCALE = 2.0**12
"""Factor on the loss where gradients pass through fp16, whose smallest normal number is 6e-5: the loss of a batch of four at
512² has a gradient of about 3e-5 for each number that the UNet predicts. A power of two, so that dividing by it is exact."""


def autocast(model: DiffusionModel) -> torch.autocast:
    """The context in which networks compute: on CUDA in `autocast_dtype`, elsewhere as their weights are."""
    device = model.device.type
    return torch.autocast(device, dtype=autocast_dtype(model), enabled=device == "cuda")


def autocast_dtype(model: DiffusionModel) -> torch.dtype:
    """bf16 where the GPU computes in it (NVIDIA's since Ampere, AMD's), else fp16; only used on CUDA."""
    if model.device.type == "cuda" and torch.version.hip is None and torch.cuda.get_device_capability(model.device) < (8, 0):
        return torch.float16  # older ones only emulate bf16, and torch.cuda.is_bf16_supported() does not mind
    return torch.bfloat16


def add_gradient(model: DiffusionModel, loss: torch.Tensor, leaves: Iterable[torch.Tensor]) -> None:
    """Adds the gradient of a loss, a scalar, to that of the leaves. Where it passes through fp16 it is scaled on the way
    (Micikevicius et al. 2018, section 3.2), by a constant, since adapting the scale would wait for the device in every step."""
    wanted = [leaf for leaf in leaves if leaf.requires_grad]
    scale = FP16_SCALE if model.device.type == "cuda" and autocast_dtype(model) == torch.float16 else 1.0
    for leaf, gradient in zip(wanted, torch.autograd.grad(loss * scale, wanted), strict=True):
        unscaled = gradient / scale
        leaf.grad = unscaled if leaf.grad is None else leaf.grad + unscaled
