"""Convolutions over few positions: the values and gradients of torch's own, and only where they are meant."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from train_embedding.engine.layers import frozen, small_convolutions
from train_embedding.engine.layers.frozen import FrozenConv2d, freeze, original_layers
from train_embedding.engine.layers.small_convolutions import is_small


def both_ways(layer: nn.Conv2d, input: torch.Tensor, channels: int | None = None) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """(frozen, torch's): outputs, and gradients of the input."""
    freeze(layer)
    assert isinstance(layer, FrozenConv2d)
    results: list[tuple[torch.Tensor, torch.Tensor]] = []
    for forward in (lambda leaf: layer(leaf, channels), lambda leaf: nn.Conv2d.forward(layer, leaf)):
        leaf = input.clone().requires_grad_()
        output = forward(leaf)
        output.sin().sum().backward()
        assert leaf.grad is not None
        results.append((output.detach(), leaf.grad))
    return list(zip(*results, strict=True))


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which of the two were called, for weights of any size."""
    monkeypatch.setattr(small_convolutions, "SMALLEST_WEIGHT", 0)
    calls: list[str] = []
    for name in ("small_conv2d", "small_conv2d_input_gradient"):
        real: Any = getattr(frozen, name)
        monkeypatch.setattr(frozen, name, lambda *given, name=name, real=real: (calls.append(name), real(*given))[1])
    return calls


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 5, 8, 8), (2, 5, 8, 8), (4, 5, 4, 4), (3, 5, 3, 7), (1, 5, 1, 1)], ids=str)
def test_equal_to_torchs(shape: tuple[int, ...], bias: bool, taken: list[str]) -> None:
    torch.manual_seed(0)
    for one, other in both_ways(nn.Conv2d(5, 7, 3, padding=1, bias=bias), torch.randn(shape)):
        torch.testing.assert_close(one, other)
    assert taken == ["small_conv2d", "small_conv2d_input_gradient"]


def test_some_channels_alone_get_a_gradient(taken: list[str]) -> None:
    torch.manual_seed(0)
    (output, expected), (gradient, whole) = both_ways(nn.Conv2d(6, 4, 3, padding=1), torch.randn(1, 6, 4, 4), channels=2)
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(gradient[:, :2], whole[:, :2])
    assert not gradient[:, 2:].any()
    assert taken == ["small_conv2d", "small_conv2d_input_gradient"]


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv2d(4, 6, 3, padding=1, stride=2), (1, 4, 16, 16)),
        (nn.Conv2d(4, 6, 3, padding=1, stride=2), (1, 4, 9, 7)),
        (nn.Conv2d(4, 6, 3), (1, 4, 10, 10)),
        (nn.Conv2d(4, 6, 1), (1, 4, 8, 8)),
        (nn.Conv2d(4, 6, (3, 1), padding=(2, 0), stride=(1, 2), dilation=(2, 1)), (1, 4, 8, 8)),
    ],
    ids=["stride", "stride, odd sides", "unpadded", "1x1", "all different"],
)
def test_every_kernel_and_stride(layer: nn.Conv2d, shape: tuple[int, ...], taken: list[str]) -> None:
    for one, other in both_ways(layer, torch.randn(shape)):
        torch.testing.assert_close(one, other)
    assert taken == ["small_conv2d", "small_conv2d_input_gradient"]


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv2d(4, 4, 3, padding=1), (3, 4, 8, 8)),
        (nn.Conv2d(4, 4, 3, padding=1), (1, 4, 12, 11)),
        (nn.Conv2d(4, 4, 3, padding=1, stride=2), (1, 4, 23, 22)),
        (nn.Conv2d(4, 4, 3, padding=1, groups=2), (1, 4, 8, 8)),
        (nn.Conv2d(4, 4, 3, padding=1, dtype=torch.float64), (1, 4, 8, 8)),
    ],
    ids=["batch", "large", "large, stride", "groups", "float64"],
)
def test_others_stay_torchs(layer: nn.Conv2d, shape: tuple[int, ...], taken: list[str]) -> None:
    for one, other in both_ways(layer, torch.randn(shape, dtype=layer.weight.dtype)):
        torch.testing.assert_close(one, other)
    assert taken == []


def test_in_bf16(taken: list[str]) -> None:
    torch.manual_seed(0)
    for one, other in both_ways(nn.Conv2d(5, 7, 3, padding=1).bfloat16(), torch.randn(2, 5, 8, 8).bfloat16()):
        assert one.dtype == torch.bfloat16
        torch.testing.assert_close(one, other, rtol=0.05, atol=0.05)
    assert taken == ["small_conv2d", "small_conv2d_input_gradient"]


def test_under_autocast_in_its_dtype(taken: list[str]) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        pairs = both_ways(nn.Conv2d(5, 7, 3, padding=1), torch.randn(1, 5, 8, 8))
    assert pairs[0][0].dtype == pairs[0][1].dtype == torch.bfloat16
    for one, other in pairs:
        torch.testing.assert_close(one, other, rtol=0.05, atol=0.05)
    assert taken == ["small_conv2d", "small_conv2d_input_gradient"]


def test_on_cpus_alone() -> None:
    with torch.device("meta"):
        layer = nn.Conv2d(640, 640, 3, padding=1)
        options = (layer.stride, layer.padding, layer.dilation, layer.groups)
        assert not is_small((1, 640, 8, 8), layer.weight, options)
    assert is_small((1, 640, 8, 8), torch.empty(640, 640, 3, 3), options)


def test_small_weights_stay_torchs() -> None:
    options = ((1, 1), (1, 1), (1, 1), 1)
    assert not is_small((1, 320, 8, 8), torch.empty(320, 320, 3, 3), options)


def test_plain_layers_are_torchs(taken: list[str]) -> None:
    layer = nn.Conv2d(4, 4, 3, padding=1)
    freeze(layer)
    with original_layers(layer):
        layer(torch.randn(1, 4, 8, 8).requires_grad_()).sum().backward()
    assert taken == []
