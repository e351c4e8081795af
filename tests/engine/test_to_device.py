"""Transfers to a device: from pinned memory to CUDA, and as they are elsewhere. No GPU is needed."""

from __future__ import annotations

from typing import Any

import torch

from train_embedding.engine.devices import to_device

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


class Recorded:
    """A tensor of the main memory that says what is done to it."""

    device = CPU

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def pin_memory(self) -> Recorded:
        self.calls.append("pin_memory")
        return self

    def to(self, device: torch.device, non_blocking: bool) -> Recorded:
        self.calls.append((device.type, non_blocking))
        return self


def test_to_cuda_from_pinned_memory_without_waiting() -> None:
    tensor = Recorded()
    to_device(tensor, CUDA)
    assert tensor.calls == ["pin_memory", ("cuda", True)]


def test_elsewhere_nothing_is_pinned_and_copies_are_waited_for() -> None:
    for device in ("mps", "xpu", "privateuseone"):  # on MPS, a copy that is not waited for may read what was overwritten since
        tensor = Recorded()
        to_device(tensor, torch.device(device))
        assert tensor.calls == [(device, False)]
    here = torch.ones(2)
    assert to_device(here, CPU) is here
