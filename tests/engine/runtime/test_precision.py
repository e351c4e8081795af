"""What networks compute in on which device, and gradients that survive fp16."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import nn

from train_embedding.engine import devices
from train_embedding.engine.devices import DeviceSupport
from train_embedding.engine.runtime.precision import (
    FIRST_FACTOR,
    MAX_SKIPPED,
    SKIPPED_BEFORE_FALLBACK,
    STEPS_BEFORE_GROWTH,
    LossScale,
    autocast,
    compute_dtype,
    fall_back,
    follow,
    forget_fallbacks,
    uses_fp16_gradients,
)
from train_embedding.engine.training.optimizers import make_optimizer

CPU = torch.device("cpu")


@dataclass
class Encoder:
    module: nn.Module


@dataclass
class Model:
    """A model as far as these functions look."""

    device: torch.device
    dtype: torch.dtype = torch.float32
    text: torch.dtype = torch.float32
    autocast_dtypes: list[torch.dtype | None] = field(default_factory=list[torch.dtype | None])
    unet: nn.Module = field(init=False)
    text_encoders: tuple[Encoder, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.unet = nn.Linear(2, 2, dtype=self.dtype)
        self.text_encoders = (Encoder(nn.Linear(2, 2, dtype=self.text)),)


def on(device: str, *dtypes: torch.dtype) -> Any:
    return Model(torch.device(device), *dtypes)


def dtypes_of(model: Any) -> list[torch.dtype]:
    """What the UNet computes in, and in what after each overflow."""
    found = [compute_dtype(model)]
    while fall_back(model):
        found.append(compute_dtype(model))
    return found


@pytest.mark.parametrize(
    ("capability", "hip", "native"),
    [((6, 1), None, False), ((7, 5), None, False), ((8, 0), None, True), ((12, 0), None, True), ((7, 5), "6.2", True)],
)
def test_what_each_gpu_computes_in(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], hip: str | None, native: bool
) -> None:
    """In the dtype of the weights, and after an overflow in bf16; weights in fp32 in half precision while that suffices."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: capability)
    monkeypatch.setattr(torch.version, "hip", hip)
    fp32, fp16, bf16 = torch.float32, torch.float16, torch.bfloat16
    assert dtypes_of(on("cuda", fp16, fp16)) == ([fp16, bf16] if native else [fp16])
    assert dtypes_of(on("cuda", fp16, fp32)) == ([fp16, bf16] if native else [fp16])
    assert dtypes_of(on("cuda", bf16, bf16)) == [bf16]
    assert dtypes_of(on("cuda", fp32, fp32)) == ([bf16] if native else [fp16, fp32])
    assert uses_fp16_gradients(on("cuda")) == (not native)


def test_a_network_with_several_dtypes_computes_under_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its layers would not accept each other's outputs."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: (8, 0))
    mixed = on("cuda", torch.float16, torch.float16)
    mixed.unet = nn.Sequential(mixed.unet, nn.Linear(2, 2))
    assert dtypes_of(mixed) == [torch.bfloat16]
    with_encoder = on("cuda", torch.float16, torch.float16)
    with_encoder.text_encoders = (Encoder(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2, dtype=torch.float16))),)
    assert dtypes_of(with_encoder) == [torch.bfloat16]


def test_falling_back_starts_the_scale_again_and_is_saved_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: (8, 0))
    model, leaf = on("cuda", torch.float16, torch.float16), torch.ones(1, 2, requires_grad=True)
    optimizer, scale = make_optimizer("adamw", [leaf], 0.01), LossScale(CPU, enabled=True)
    follow(model, scale)
    for _ in range(SKIPPED_BEFORE_FALLBACK):
        assert not scale.skips_too_many()
        stepped(scale, optimizer, leaf, float("inf"))
    assert scale.skips_too_many()
    assert fall_back(model, scale)
    assert float(scale.values()["factor"]) == FIRST_FACTOR
    for _ in range(MAX_SKIPPED):
        assert not scale.skips_too_many()
        stepped(scale, optimizer, leaf, float("inf"))
    assert scale.skips_too_many()
    assert not fall_back(model, scale)

    resumed, resumed_scale = on("cuda", torch.float16, torch.float16), LossScale(CPU, enabled=True)
    resumed_scale.load(scale.values())
    follow(resumed, resumed_scale)
    assert compute_dtype(resumed) == torch.bfloat16
    forget_fallbacks(resumed)
    assert compute_dtype(resumed) == torch.float16


@pytest.mark.parametrize("device", ["cpu", "mps", "xpu", "privateuseone", "vulkan"])
def test_without_autocast_networks_compute_as_their_weights_are(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    def raising(*_values: Any, **_options: Any) -> None:
        raise RuntimeError("User specified an unsupported autocast device_type")

    monkeypatch.setattr(torch, "autocast", raising)  # as torch 2.3.1 does on MPS
    with autocast(on(device)), devices.without_autocast(torch.device(device)):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
    assert compute_dtype(on(device, torch.float16)) == torch.float16


@pytest.mark.parametrize(
    ("unet", "text", "scaled"),
    [
        (torch.float32, torch.float32, False),
        (torch.bfloat16, torch.float32, False),
        (torch.float16, torch.float32, True),
        (torch.float32, torch.float16, True),
    ],
)
@pytest.mark.parametrize("device", ["cpu", "mps", "cuda"])
def test_the_loss_is_scaled_wherever_fp16_is_on_the_way(
    monkeypatch: pytest.MonkeyPatch, device: str, unet: torch.dtype, text: torch.dtype, scaled: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: (8, 6))
    assert uses_fp16_gradients(on(device, unet, text)) == scaled


def test_gradients_are_added() -> None:
    for scale in (LossScale(CPU, enabled=False), LossScale(CPU, enabled=True)):
        leaves = [torch.ones(3, requires_grad=True), torch.ones(2, requires_grad=True), torch.ones(2)]
        for _ in range(2):
            scale.add_gradient(2 * leaves[0].sum() + 3 * leaves[1].sum() + leaves[2].sum(), leaves)
        assert torch.equal(leaves[0].grad, torch.full((3,), 4.0))
        assert torch.equal(leaves[1].grad, torch.full((2,), 6.0))
        assert leaves[2].grad is None


def test_gradients_too_small_for_fp16_survive_it() -> None:
    tiny = 2.0**-30  # fp16 ends at 2^-24
    lost, kept = (torch.ones(3, requires_grad=True) for _ in range(2))
    for leaf, enabled in ((lost, False), (kept, True)):
        LossScale(CPU, enabled).add_gradient((leaf.half().float() * tiny).sum(), [leaf])
    assert float(lost.grad.sum()) == 0
    assert torch.equal(kept.grad, torch.full((3,), tiny))


def stepped(scale: LossScale, optimizer: torch.optim.Optimizer, leaf: torch.Tensor, gradient: float) -> None:
    leaf.grad = torch.full_like(leaf, gradient)
    scale.step(optimizer)


@pytest.mark.parametrize("name", ["adamw", "direction", "prodigy"])
@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
@pytest.mark.parametrize("after", [0, 3])
def test_a_step_without_a_finite_gradient_changes_nothing(name: str, bad: float, after: int) -> None:
    if name == "prodigy":
        pytest.importorskip("prodigyopt")
    leaf = torch.linspace(0.1, 1, 6).reshape(2, 3).requires_grad_()
    optimizer, scale = make_optimizer(name, [leaf], 0.01), LossScale(CPU, enabled=True)
    for _ in range(after):
        stepped(scale, optimizer, leaf, 1.0)
    vectors = leaf.detach().clone()
    kept = {key: value.clone() for key, value in optimizer.state[leaf].items() if isinstance(value, torch.Tensor) and value.ndim}
    stepped(scale, optimizer, leaf, bad)
    assert torch.equal(leaf, vectors)
    assert all(torch.equal(optimizer.state[leaf][key], value) for key, value in kept.items())
    for _ in range(3):
        leaf.grad = torch.linspace(-1, 1, 6).reshape(2, 3)
        scale.step(optimizer)
    assert bool(leaf.isfinite().all())
    assert not torch.equal(leaf, vectors)


def test_the_factor_falls_at_once_and_rises_slowly() -> None:
    leaf = torch.ones(1, 2, requires_grad=True)
    optimizer, scale = make_optimizer("adamw", [leaf], 0.01), LossScale(CPU, enabled=True)

    def factor() -> float:
        return float(scale.values()["factor"])

    assert factor() == FIRST_FACTOR
    stepped(scale, optimizer, leaf, float("inf"))
    assert factor() == FIRST_FACTOR / 2
    for _ in range(STEPS_BEFORE_GROWTH - 1):
        stepped(scale, optimizer, leaf, 1.0)
    assert factor() == FIRST_FACTOR / 2
    stepped(scale, optimizer, leaf, 1.0)
    assert factor() == FIRST_FACTOR
    for _ in range(MAX_SKIPPED):
        stepped(scale, optimizer, leaf, float("nan"))
    assert factor() == 1
    assert scale.skipped_in_a_row() == MAX_SKIPPED
    stepped(scale, optimizer, leaf, 1.0)
    assert scale.skipped_in_a_row() == 0


def test_a_saved_scale_goes_on() -> None:
    leaf = torch.ones(1, 2, requires_grad=True)
    optimizer, scale = make_optimizer("adamw", [leaf], 0.01), LossScale(CPU, enabled=True)
    for gradient in (float("inf"), 1.0, 1.0, float("inf")):
        stepped(scale, optimizer, leaf, gradient)
    other = LossScale(CPU, enabled=True)
    other.load(scale.values())
    assert other.values() == scale.values()


def test_steps_that_need_no_scale_are_the_optimizers_own() -> None:
    leaf = torch.ones(1, 2, requires_grad=True)
    optimizer = make_optimizer("adamw", [leaf], 0.01)
    stepped(LossScale(CPU, enabled=False), optimizer, leaf, float("nan"))
    assert bool(leaf.isnan().all())  # which the run's report finds


def test_every_device_of_the_table_has_a_row_for_what_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that torch may add gets only what works everywhere."""
    assert devices.support_of(torch.device("hpu")) == DeviceSupport(float64=False)
    assert {kind for kind, support in devices.SUPPORT.items() if support.autocast} == {"cuda"}
    assert not devices.SUPPORT["mps"].async_copies
