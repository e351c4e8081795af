"""Frozen layers: what torch keeps for gradients of weights that nobody trains is not kept.

torch's layers save for the backward pass as if their weights learned: a convolution its input, a SiLU the norm before it and the
norm what went in, and under autocast a copy of every weight and of every norm's input in another dtype. The gradient that goes
on to the input needs less: of linear layers and convolutions the weights alone, of norms and activations one tensor, from which
their elementwise part is computed again. The outputs and the gradients are those of the original layers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers.models.activations import GEGLU
from diffusers.models.resnet import ResnetBlock2D
from torch import nn
from torch.autograd.function import Function, once_differentiable
from torch.nn import functional as F

from train_embedding.engine.layers.small_convolutions import is_small, small_conv2d, small_conv2d_input_gradient

_aten = torch.ops.aten


def freeze(module: nn.Module) -> None:
    """Ends the training of every parameter, and turns the layers that are known here into frozen ones; others stay as they are.

    A layer keeps its parameters and its names; one whose weight requires a gradient after all behaves as before.
    """
    module.requires_grad_(False).eval()
    for layer in module.modules():
        frozen = _frozen_class(layer)
        if frozen is not None:
            layer.__class__ = frozen
    if hasattr(module, "up_blocks"):
        _set_skip_channels(module)


@contextmanager
def original_layers(module: nn.Module) -> Iterator[None]:
    """Within the context, the frozen layers are torch's and diffusers' own again: for comparisons."""
    layers = [(layer, type(layer)) for layer in module.modules() if isinstance(layer, FrozenLayer)]
    for layer, frozen in layers:
        layer.__class__ = frozen.__bases__[1]
    try:
        yield
    finally:
        for layer, frozen in layers:
            layer.__class__ = frozen


def _frozen_class(layer: nn.Module) -> type[nn.Module] | None:
    if type(layer) is nn.Conv2d:
        return FrozenConv2d if layer.padding_mode == "zeros" and not isinstance(layer.padding, str) else None
    if type(layer) is ResnetBlock2D and not _is_standard(layer):
        return None
    return _FROZEN.get(type(layer))


class FrozenLayer:
    """Marks the layers that `freeze` makes."""


class FrozenLinear(FrozenLayer, nn.Linear):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return _Linear.apply(input, self.weight, self.bias) if passes_gradient(input, self) else super().forward(input)


class FrozenConv2d(FrozenLayer, nn.Conv2d):
    def forward(self, input: torch.Tensor, channels: int | None = None) -> torch.Tensor:
        """channels: how many of the first input channels a gradient goes to; None for all."""
        if not passes_gradient(input, self):
            return super().forward(input)
        options = (self.stride, self.padding, self.dilation, self.groups)
        return _Conv2d.apply(input, self.weight, self.bias, options, channels)


class FrozenGroupNorm(FrozenLayer, nn.GroupNorm):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return group_norm(self, input) if passes_gradient(input, self) else super().forward(input)


class FrozenLayerNorm(FrozenLayer, nn.LayerNorm):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if not passes_gradient(input, self):
            return super().forward(input)
        return _LayerNorm.apply(input, self.weight, self.bias, self.normalized_shape, self.eps)


class FrozenGEGLU(FrozenLayer, GEGLU):
    def forward(self, hidden_states: torch.Tensor, *arguments: Any, **options: Any) -> torch.Tensor:
        if not (torch.is_grad_enabled() and hidden_states.requires_grad):
            return super().forward(hidden_states, *arguments, **options)
        return geglu(self.proj(hidden_states))


class FrozenResnetBlock2D(FrozenLayer, ResnetBlock2D):
    """Computes what ResnetBlock2D computes; see `_is_standard` for what it leaves out."""

    skip_channels = 0
    "How many of the input's last channels come over a skip connection."

    def forward(self, input_tensor: torch.Tensor, temb: torch.Tensor, *arguments: Any, **options: Any) -> torch.Tensor:
        trained = any(parameter.requires_grad for norm in (self.norm1, self.norm2) for parameter in norm.parameters())
        if not torch.is_grad_enabled() or trained:
            return super().forward(input_tensor, temb, *arguments, **options)
        wanted = self._wanted_channels(input_tensor)
        hidden = self.conv1(group_norm(self.norm1, input_tensor, silu=True), whole_groups(self.norm1, wanted))
        assert self.time_emb_proj is not None
        hidden = hidden + self.time_emb_proj(self.nonlinearity(temb))[:, :, None, None]
        hidden = self.conv2(group_norm(self.norm2, hidden, silu=True))
        shortcut = input_tensor if self.conv_shortcut is None else self.conv_shortcut(input_tensor, wanted)
        return (shortcut + hidden) / self.output_scale_factor

    def _wanted_channels(self, joined: torch.Tensor) -> int:
        """How many of the first channels a gradient goes to: not those of a skip from before the prompt is read, where
        the convolutions need not compute it."""
        node = joined.grad_fn
        parts = node.next_functions if node is not None and node.name() == "CatBackward0" else ()
        ends_in_skip = len(parts) == 2 and parts[1][0] is None
        return joined.shape[1] - (self.skip_channels if ends_in_skip else 0)


_FROZEN: dict[type[nn.Module], type[nn.Module]] = {
    nn.Linear: FrozenLinear,
    nn.GroupNorm: FrozenGroupNorm,
    nn.LayerNorm: FrozenLayerNorm,
    GEGLU: FrozenGEGLU,
    ResnetBlock2D: FrozenResnetBlock2D,
}


def passes_gradient(input: torch.Tensor, layer: nn.Module) -> bool:
    """Whether a gradient goes through the layer, and ends in none of its own parameters."""
    trained = any(parameter.requires_grad for parameter in layer.parameters(recurse=False))
    return torch.is_grad_enabled() and input.requires_grad and not trained


def group_norm(norm: nn.GroupNorm, input: torch.Tensor, *, silu: bool = False) -> torch.Tensor:
    """The norm, and SiLU after it if asked for, keeping the input alone."""
    return _GroupNorm.apply(input, norm.weight, norm.bias, norm.num_groups, norm.eps, silu)


def geglu(projected: torch.Tensor) -> torch.Tensor:
    """One half of the channels times GELU of the other (Shazeer 2020, arXiv 2002.05202), keeping the input alone.

    projected: [..., 2d]; gives [..., d].
    """
    return _Geglu.apply(projected)


class _Linear(Function):
    @staticmethod
    def forward(ctx: Any, input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        ctx.save_for_backward(weight)
        ctx.dtype = input.dtype
        return F.linear(input, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        (weight,) = ctx.saved_tensors
        return (gradient @ weight.to(gradient.dtype)).to(ctx.dtype), None, None


class _Conv2d(Function):
    @staticmethod
    def forward(
        ctx: Any,
        input: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        options: tuple[Any, ...],
        channels: int | None,
    ) -> torch.Tensor:
        ctx.save_for_backward(weight)
        ctx.dtype, ctx.shape, ctx.options, ctx.channels = input.dtype, input.shape, options, channels
        if is_small(input.shape, weight, options):
            return small_conv2d(input, weight, bias, options)
        return F.conv2d(input, weight, bias, *options)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        (weight,) = ctx.saved_tensors
        batch, width, *sides = ctx.shape
        channels = ctx.channels or width
        weight = weight[:, :channels].to(gradient.dtype)
        if is_small(ctx.shape, weight, ctx.options):
            result = small_conv2d_input_gradient(gradient, weight, sides, ctx.options)
        else:
            stride, padding, dilation, groups = ctx.options
            # As torch.nn.grad.conv2d_input: of the input, only the shape is asked for.
            input = gradient.new_empty(1).expand(batch, channels, *sides)
            result = _aten.convolution_backward(
                gradient, input, weight, None, stride, padding, dilation, False, [0, 0], groups, (True, False, False)
            )[0]
        if channels < width:
            result = F.pad(result, (0, 0, 0, 0, 0, width - channels))
        return result.to(ctx.dtype), None, None, None, None


class _GroupNorm(Function):
    @staticmethod
    def forward(
        ctx: Any, input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, groups: int, eps: float, silu: bool
    ) -> torch.Tensor:
        ctx.save_for_backward(input, weight, bias)
        ctx.options, ctx.silu = (groups, eps), silu
        output = F.group_norm(input, groups, weight, bias, eps)
        return F.silu(output) if silu else output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        given, weight, bias = ctx.saved_tensors  # once: checkpointing does not hand them out twice
        input, weight, bias = _as_computed(gradient.dtype, given, weight, bias)
        groups, eps = ctx.options
        layout = (len(input), input.shape[1], input[0, 0].numel(), groups)
        output, mean, deviation = torch.native_group_norm(input, weight, bias, *layout, eps)
        if ctx.silu:
            gradient = _aten.silu_backward(gradient, output)
        gradient = _aten.native_group_norm_backward(
            gradient.contiguous(), input, mean, deviation, weight, *layout, [True, False, False]
        )[0]
        return gradient.to(given.dtype), None, None, None, None, None


class _LayerNorm(Function):
    @staticmethod
    def forward(
        ctx: Any, input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, shape: tuple[int, ...], eps: float
    ) -> torch.Tensor:
        ctx.save_for_backward(input, weight, bias)
        ctx.options = (shape, eps)
        return F.layer_norm(input, shape, weight, bias, eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        given, weight, bias = ctx.saved_tensors  # once: checkpointing does not hand them out twice
        input, weight, bias = _as_computed(gradient.dtype, given, weight, bias)
        shape, eps = ctx.options
        _, mean, deviation = torch.native_layer_norm(input, shape, weight, bias, eps)
        gradient = _aten.native_layer_norm_backward(
            gradient.contiguous(), input, shape, mean, deviation, weight, bias, [True, False, False]
        )[0]
        return gradient.to(given.dtype), None, None, None, None


class _Geglu(Function):
    @staticmethod
    def forward(ctx: Any, projected: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(projected)
        hidden, gate = projected.chunk(2, -1)
        return hidden * F.gelu(gate)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        hidden, gate = ctx.saved_tensors[0].chunk(2, -1)
        return torch.cat([gradient * F.gelu(gate), _aten.gelu_backward(gradient * hidden, gate)], -1)


def _as_computed(dtype: torch.dtype, input: torch.Tensor, *weights: torch.Tensor | None) -> tuple[Any, ...]:
    """A norm's tensors as its forward took them: where autocast made the output another dtype, it had cast everything to it."""
    if input.dtype == dtype:
        return (input.contiguous(), *weights)
    return (input.to(dtype).contiguous(), *(None if weight is None else weight.to(dtype) for weight in weights))


def _is_standard(block: ResnetBlock2D) -> bool:
    return (
        block.time_embedding_norm == "default"
        and block.upsample is None
        and block.downsample is None
        and block.time_emb_proj is not None
        and not block.skip_time_act
        and block.dropout.p == 0
        and type(block.nonlinearity) is nn.SiLU
    )


def _set_skip_channels(unet: Any) -> None:
    """Tells the resnets on the way up how many of their channels come over a skip connection, as diffusers' UNets pass them."""
    skips: list[int] = [unet.conv_in.out_channels]
    for block in unet.down_blocks:
        skips += [resnet.out_channels for resnet in block.resnets]
        skips += [sampler.out_channels for sampler in block.downsamplers or ()]
    for block in unet.up_blocks:
        for resnet in block.resnets:
            resnet.skip_channels = skips.pop()


def whole_groups(norm: nn.GroupNorm, channels: int) -> int:
    """The first channels, with those that a gradient of theirs depends on: a norm's whole groups."""
    group = norm.num_channels // norm.num_groups
    return -(-channels // group) * group
