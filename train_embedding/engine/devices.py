"""Features of each type of torch device (autocast, float64, asynchronous copies), and transfers to devices."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class DeviceSupport:
    """Features of a type of device that the engine uses.

    Attributes:
        autocast: Whether networks compute under `torch.autocast`; otherwise they compute in the dtype of their weights.
        float64: Whether float64 tensors are supported.
        pinned: Whether main memory can be pinned for copies to the device.
        async_copies: Whether copies from (pinned) main memory may be asynchronous.
    """

    autocast: bool = False
    float64: bool = True
    pinned: bool = False
    async_copies: bool = False


SUPPORT: dict[str, DeviceSupport] = {
    "cpu": DeviceSupport(),
    "cuda": DeviceSupport(autocast=True, pinned=True, async_copies=True),  # also AMD's ROCm
    # torch.autocast("mps") raises an error before torch 2.5, float64 is not supported, and asynchronous copies may read memory
    # that has already been overwritten (pytorch/pytorch#83015).
    "mps": DeviceSupport(float64=False),
    # Intel: autocast needs certain versions of its extension, and Arc has no float64.
    "xpu": DeviceSupport(float64=False),
    # DirectML
    "privateuseone": DeviceSupport(float64=False),
    "meta": DeviceSupport(async_copies=True),
}
_UNKNOWN = DeviceSupport(float64=False)
_OUT_OF_MEMORY = ("out of memory", "not enough memory", "allocate memory")


def support_of(device: torch.device) -> DeviceSupport:
    """Return the features of a device. For unknown types, these are the features that all devices have."""
    return SUPPORT.get(device.type, _UNKNOWN)


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Return a context without autocast. It does nothing for devices on which autocast is not used."""
    return torch.autocast(device.type, enabled=False) if support_of(device).autocast else nullcontext()


def as_float64(tensor: torch.Tensor) -> torch.Tensor:
    """Convert a tensor to float64, in main memory if its device does not support it."""
    return (tensor if support_of(tensor.device).float64 else tensor.cpu()).double()


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that memory ran out. CPU, MPS and DirectML raise plain RuntimeErrors."""
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _OUT_OF_MEMORY)


def release_cached_memory(device: torch.device) -> None:
    """Release the memory that torch caches for future tensors."""
    module = getattr(torch, device.type, None)
    empty_cache = getattr(module, "empty_cache", None)
    if empty_cache is not None:
        empty_cache()


def to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Copy a tensor to a device, asynchronously if that is safe: from pinned main memory to CUDA."""
    support = support_of(device)
    if support.pinned and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()  # returns the same tensor if it is already pinned
    return tensor.to(device, non_blocking=support.async_copies)
