"""Frozen layers whose weights stay quantised: they are dequantised when a layer computes, and again in its backward pass.

A host that keeps its UNet in fp8, in four bits or as GGUF blocks needs a fraction of the memory of fp16 weights. These layers
hold the host's own weights. Autograd saves none of the dequantised values, so a step needs only those of one layer at a time.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# torch's annotations of autograd functions are incomplete.

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.autograd.function import Function, once_differentiable
from torch.nn import functional as F

from train_embedding.engine.layers.frozen import conv2d, conv2d_input_gradient, passes_gradient

Dequantise = Callable[[torch.device, torch.dtype], torch.Tensor]
"Returns all values of a weight on a device and in a dtype. It leaves the weight as it is."


class QuantisedWeight:
    """A weight that a host keeps quantised. It supports the operations of a tensor that converters of checkpoints use.

    Args:
        shape: Shape of the dequantised weight.
        dequantise: Returns the values.
    """

    def __init__(self, shape: torch.Size, dequantise: Dequantise) -> None:
        self.shape = shape
        self._dequantise = dequantise

    def dequantised(self, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
        """Return the values as a tensor that requires no gradient. The caller should not keep it."""
        with torch.no_grad():
            return self._dequantise(device, dtype)

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    def __getitem__(self, index: Any) -> QuantisedWeight:
        """Return a part of the weight."""
        return self._view(lambda values: values[index])

    def t(self) -> QuantisedWeight:
        """Return the transpose of a matrix."""
        return self._view(torch.Tensor.t)

    def chunk(self, chunks: int) -> tuple[QuantisedWeight, ...]:
        """Split the weight along its first dimension."""
        count = len(torch.empty(self.shape, device="meta").chunk(chunks))
        return tuple(self._view(lambda values, part=part: values.chunk(chunks)[part]) for part in range(count))

    def _view(self, view: Callable[[torch.Tensor], torch.Tensor]) -> QuantisedWeight:
        shape = view(torch.empty(self.shape, device="meta")).shape
        return QuantisedWeight(shape, lambda device, dtype: view(self.dequantised(device, dtype)))


Weight = torch.Tensor | QuantisedWeight


class QuantisedLinear(nn.Linear):
    """A frozen linear layer that holds a `QuantisedWeight` instead of the parameter "weight"."""

    quantised: QuantisedWeight

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if passes_gradient(input, self):
            return _Linear.apply(input, self.quantised, self.bias)
        return F.linear(input, _values(self.quantised, input), self.bias)


class QuantisedConv2d(nn.Conv2d):
    """A frozen convolution that holds a `QuantisedWeight` instead of the parameter "weight"."""

    quantised: QuantisedWeight

    def forward(self, input: torch.Tensor, channels: int | None = None) -> torch.Tensor:
        """Convolve. Only the first `channels` input channels receive a gradient; None for all channels."""
        if not passes_gradient(input, self):
            return self._conv_forward(input, _values(self.quantised, input), self.bias)
        options = (self.stride, self.padding, self.dilation, self.groups)
        return _Conv2d.apply(input, self.quantised, self.bias, options, channels)


def hold_quantised(layer: nn.Module, weight: QuantisedWeight) -> None:
    """Let a layer hold a quantised weight instead of its parameter "weight".

    Args:
        layer: An `nn.Linear`, or an `nn.Conv2d` with numeric zero padding; its class is changed.
        weight: The weight.

    Raises:
        ValueError: The layer cannot hold the weight.
    """
    is_conv = type(layer) is nn.Conv2d and layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
    if not is_conv and type(layer) is not nn.Linear:
        raise ValueError(f"{type(layer).__name__} cannot hold a quantised weight")
    expected = layer.get_parameter("weight").shape
    if weight.shape != expected:
        raise ValueError(f"a quantised weight has the shape {tuple(weight.shape)} instead of {tuple(expected)}")
    layer.register_parameter("weight", None)
    held: Any = layer
    held.__class__ = QuantisedConv2d if is_conv else QuantisedLinear
    held.quantised = weight


def _values(weight: QuantisedWeight, input: torch.Tensor) -> torch.Tensor:
    """Return the values in the dtype in which a layer computes: that of autocast, or else that of its input."""
    return weight.dequantised(input.device, _autocast_dtype(input.device) or input.dtype)


def _autocast_dtype(device: torch.device) -> torch.dtype | None:
    """Return the dtype of the active autocast on a CPU or a CUDA device; None if there is none."""
    if device.type not in ("cpu", "cuda"):
        return None
    if hasattr(torch, "get_autocast_dtype"):
        return torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else None
    if device.type == "cuda":  # before torch 2.4
        return torch.get_autocast_gpu_dtype() if torch.is_autocast_enabled() else None
    return torch.get_autocast_cpu_dtype() if torch.is_autocast_cpu_enabled() else None


class _Linear(Function):
    @staticmethod
    def forward(ctx: Any, input: torch.Tensor, weight: QuantisedWeight, bias: torch.Tensor | None) -> torch.Tensor:
        ctx.weight, ctx.dtype = weight, input.dtype
        return F.linear(input, _values(weight, input), bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        weight = ctx.weight.dequantised(gradient.device, gradient.dtype)
        return (gradient @ weight).to(ctx.dtype), None, None


class _Conv2d(Function):
    @staticmethod
    def forward(
        ctx: Any,
        input: torch.Tensor,
        weight: QuantisedWeight,
        bias: torch.Tensor | None,
        options: tuple[Any, ...],
        channels: int | None,
    ) -> torch.Tensor:
        ctx.weight, ctx.dtype, ctx.shape, ctx.options, ctx.channels = weight, input.dtype, input.shape, options, channels
        return conv2d(input, _values(weight, input), bias, options)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        weight = ctx.weight.dequantised(gradient.device, gradient.dtype)
        result = conv2d_input_gradient(gradient, weight, ctx.shape, ctx.options, ctx.channels)
        return result.to(ctx.dtype), None, None, None, None
