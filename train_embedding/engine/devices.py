"""Transfers to a device that are not waited for where that is safe."""

from __future__ import annotations

import torch

from train_embedding.engine.device_support import support_of


def to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Copy a tensor to the device, without waiting for it where that is safe: from pinned main memory, to CUDA."""
    support = support_of(device)
    if support.pinned and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()  # the tensor itself where it is pinned already
    return tensor.to(device, non_blocking=support.async_copies)
