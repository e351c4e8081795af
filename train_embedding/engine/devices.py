"""What makes a GPU faster or spares it waiting; of no effect elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from train_embedding.engine.device_support import support_of

if TYPE_CHECKING:
    from train_embedding.engine.model import DiffusionModel


def to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Copy a tensor to the device, without waiting for it where that is safe: from pinned main memory, to CUDA."""
    support = support_of(device)
    if support.pinned and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()  # the tensor itself where it is pinned already
    return tensor.to(device, non_blocking=support.async_copies)


@contextmanager
def tf32(device: torch.device) -> Iterator[None]:
    """Within the context, fp32 products on CUDA are made in TF32, which has 10 bits of mantissa; then as was set before."""
    if device.type != "cuda":
        yield
        return
    matmul: Any = torch.backends.cuda.matmul
    convolution: Any = torch.backends.cudnn
    before = (matmul.allow_tf32, convolution.allow_tf32)
    try:
        matmul.allow_tf32 = convolution.allow_tf32 = True
        yield
    finally:
        matmul.allow_tf32, convolution.allow_tf32 = before


@contextmanager
def channels_last(model: DiffusionModel) -> Iterator[None]:
    """Within the context, the weights of the UNet's convolutions lie in CUDA's memory in the order that tensor cores want.

    They are copied for that, so a model over weights that a host uses too is left as it is.
    """
    if model.device.type != "cuda" or not model.owns_weights:
        yield
        return
    try:
        reorder(model.unet, torch.channels_last)
        yield
    finally:
        reorder(model.unet, torch.contiguous_format)


def reorder(network: nn.Module, order: torch.memory_format) -> None:
    """Puts the numbers of every weight of four dimensions into another order in memory; the weights stay the same."""
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=order)
