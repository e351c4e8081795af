"""What each kind of torch device supports (autocast, float64, asynchronous copies), and transfers to it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class DeviceSupport:
    """What the engine uses on a kind of device."""

    autocast: bool = False
    "Whether networks compute under `torch.autocast`; elsewhere they compute in the number format of their weights."
    float64: bool = True
    "Whether tensors of doubles exist there."
    pinned: bool = False
    "Whether main memory can be pinned for copies there."
    async_copies: bool = False
    "Whether a copy from (pinned) main memory need not be waited for."


SUPPORT: dict[str, DeviceSupport] = {
    "cpu": DeviceSupport(),
    "cuda": DeviceSupport(autocast=True, pinned=True, async_copies=True),  # AMD's ROCm has this name too
    # torch.autocast("mps") raises before torch 2.5, doubles do not exist, and copies that are not waited for may read what the
    # program has already overwritten (pytorch/pytorch#83015).
    "mps": DeviceSupport(float64=False),
    # Intel: autocast exists only with some versions of its extension, and Arc has no doubles.
    "xpu": DeviceSupport(float64=False),
    # DirectML registers itself under this name.
    "privateuseone": DeviceSupport(float64=False),
    "meta": DeviceSupport(async_copies=True),
}
_UNKNOWN = DeviceSupport(float64=False)
_OUT_OF_MEMORY = ("out of memory", "not enough memory", "allocate memory")


def support_of(device: torch.device) -> DeviceSupport:
    """The table's row for the device; for a kind that is not listed, what works everywhere."""
    return SUPPORT.get(device.type, _UNKNOWN)


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """A context in which autocast is off. Where it is never on, torch is not called: some of its versions raise there."""
    return torch.autocast(device.type, enabled=False) if support_of(device).autocast else nullcontext()


def as_float64(tensor: torch.Tensor) -> torch.Tensor:
    """Return the tensor as doubles: where it is, or in main memory where its device has none."""
    return (tensor if support_of(tensor.device).float64 else tensor.cpu()).double()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory is used up; the CPU, MPS and DirectML raise plain RuntimeErrors for that."""
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _OUT_OF_MEMORY)


def release_cached_memory(device: torch.device) -> None:
    """Gives memory that torch keeps for later tensors back to the device, where its kind has such a cache."""
    module = getattr(torch, device.type, None)
    empty_cache = getattr(module, "empty_cache", None)
    if empty_cache is not None:
        empty_cache()


def to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Copy a tensor to the device, without waiting for it where that is safe: from pinned main memory, to CUDA."""
    support = support_of(device)
    if support.pinned and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()  # the tensor itself where it is pinned already
    return tensor.to(device, non_blocking=support.async_copies)
