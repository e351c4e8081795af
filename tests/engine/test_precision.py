"""What networks compute in on which GPU, and that small gradients survive fp16."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from train_embedding.engine import precision
from train_embedding.engine.precision import FP16_SCALE, add_gradient, autocast, autocast_dtype


class Model:
    """A model as far as these functions look."""

    def __init__(self, device: str) -> None:
        self.device = torch.device(device)


@pytest.mark.parametrize(
    ("capability", "hip", "dtype"),
    [
        ((6, 1), None, torch.float16),
        ((7, 5), None, torch.float16),
        ((8, 0), None, torch.bfloat16),
        ((12, 0), None, torch.bfloat16),
        ((7, 5), "6.2", torch.bfloat16),
    ],
)
def test_what_each_gpu_computes_in(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], hip: str | None, dtype: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: capability)
    monkeypatch.setattr(torch.version, "hip", hip)
    assert autocast_dtype(Model("cuda")) == dtype


def test_off_cuda_networks_compute_as_they_are() -> None:
    with autocast(Model("cpu")):
        assert not torch.is_autocast_enabled("cpu")
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


def through_fp16(leaf: torch.Tensor, factor: float) -> torch.Tensor:
    """A loss whose gradient of `factor` each passes through fp16."""
    return (leaf.half().float() * factor).sum()


def test_gradients_are_added(monkeypatch: pytest.MonkeyPatch) -> None:
    leaves = [torch.ones(3, requires_grad=True), torch.ones(2, requires_grad=True), torch.ones(2)]
    for _ in range(2):
        add_gradient(Model("cpu"), 2 * leaves[0].sum() + 3 * leaves[1].sum() + leaves[2].sum(), leaves)
    assert torch.equal(leaves[0].grad, torch.full((3,), 4.0))
    assert torch.equal(leaves[1].grad, torch.full((2,), 6.0))
    assert leaves[2].grad is None


def test_gradients_too_small_for_fp16_survive_it(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = 2.0**-30  # fp16 ends at 2^-24
    lost, kept = (torch.ones(3, requires_grad=True) for _ in range(2))
    add_gradient(Model("cpu"), through_fp16(lost, tiny), [lost])
    monkeypatch.setattr(precision, "autocast_dtype", lambda _model: torch.float16)
    cuda: Any = Model("cuda")
    add_gradient(cuda, through_fp16(kept, tiny), [kept])
    assert float(lost.grad.sum()) == 0
    assert torch.equal(kept.grad, torch.full((3,), tiny))
    assert FP16_SCALE.hex().startswith("0x1.0000000000000p")  # a power of two
