"""What each type of torch device supports (autocast, float64, asynchronous copies), and transfers to it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class DeviceSupport:
    """The features of a type of device that the engine uses."""

    autocast: bool = False
    "Whether networks compute under `torch.autocast`; elsewhere they compute in the dtype of their weights."
    float64: bool = True
    "Whether float64 tensors exist there."
    pinned: bool = False
    "Whether main memory can be pinned for copies to it."
    async_copies: bool = False
    "Whether a copy from (pinned) main memory may be asynchronous."


SUPPORT: dict[str, DeviceSupport] = {
    "cpu": DeviceSupport(),
    "cuda": DeviceSupport(autocast=True, pinned=True, async_copies=True),  # also AMD's ROCm
    # torch.autocast("mps") raises before torch 2.5, float64 does not exist, and asynchronous copies may read memory that the
    # program has overwritten already (pytorch/pytorch#83015).
    "mps": DeviceSupport(float64=False),
    # Intel: autocast exists only with some versions of its extension, and Arc has no float64.
    "xpu": DeviceSupport(float64=False),
    # DirectML
    "privateuseone": DeviceSupport(float64=False),
    "meta": DeviceSupport(async_copies=True),
}
_UNKNOWN = DeviceSupport(float64=False)
_OUT_OF_MEMORY = ("out of memory", "not enough memory", "allocate memory")


def support_of(device: torch.device) -> DeviceSupport:
    """Return the row of the table for a device; for an unknown type, what works everywhere."""
    return SUPPORT.get(device.type, _UNKNOWN)


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Return a context in which autocast is off. Where it is never on, some versions of torch would raise."""
    return torch.autocast(device.type, enabled=False) if support_of(device).autocast else nullcontext()


def as_float64(tensor: torch.Tensor) -> torch.Tensor:
    """Convert a tensor to float64, in main memory if its device does not support it."""
    return (tensor if support_of(tensor.device).float64 else tensor.cpu()).double()


def is_out_of_memory(error: BaseException) -> bool:
    """Check whether an error means that memory ran out; the CPU, MPS and DirectML raise plain RuntimeErrors."""
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _OUT_OF_MEMORY)


def release_cached_memory(device: torch.device) -> None:
    """Release the memory that torch caches for later tensors."""
    module = getattr(torch, device.type, None)
    empty_cache = getattr(module, "empty_cache", None)
    if empty_cache is not None:
        empty_cache()


def to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Copy a tensor to a device, asynchronously where that is safe: from pinned main memory to CUDA."""
    support = support_of(device)
    if support.pinned and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()  # the tensor itself where it is pinned already
    return tensor.to(device, non_blocking=support.async_copies)
