"""Layers for frozen weights: they save only what the gradient of the input needs, not what gradients of weights would need.

torch's layers also save what the gradients of their weights need: convolutions and SiLU their inputs, norms their inputs, and
under autocast a copy of each weight and of each norm's input in another dtype. For the gradient of the input, linear layers and
convolutions need only their weights; norms and activations need one tensor, from which their elementwise part is recomputed.
Outputs and gradients equal those of the original layers.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# torch's annotations of autograd functions and diffusers' of its blocks are incomplete.

from __future__ import annotations

from collections.abc import Generator
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
    """Freeze all parameters, and replace the classes of supported layers by frozen classes.

    Layers keep their parameters and names. A layer whose weight is set to require a gradient later behaves like the original.
    """
    module.requires_grad_(False).eval()
    for layer in module.modules():
        frozen = _frozen_class(layer)
        if frozen is not None:
            layer.__class__ = frozen
    if hasattr(module, "up_blocks"):
        _set_skip_channels(module)


@contextmanager
def original_layers(module: nn.Module) -> Generator[None, None, None]:
    """Restore the original classes of the layers within the context, for comparison."""
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
    """Base class of frozen layers."""


class FrozenLinear(FrozenLayer, nn.Linear):
    """Saves only the weight for the backward pass."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return _Linear.apply(input, self.weight, self.bias) if passes_gradient(input, self) else super().forward(input)


class FrozenConv2d(FrozenLayer, nn.Conv2d):
    """Saves only the weight for the backward pass."""

    def forward(self, input: torch.Tensor, channels: int | None = None) -> torch.Tensor:
        """Convolve. Only the first `channels` input channels receive a gradient; None for all channels."""
        if not passes_gradient(input, self):
            return super().forward(input)
        options = (self.stride, self.padding, self.dilation, self.groups)
        return _Conv2d.apply(input, self.weight, self.bias, options, channels)


class FrozenGroupNorm(FrozenLayer, nn.GroupNorm):
    """Saves only the input for the backward pass."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return group_norm(self, input) if passes_gradient(input, self) else super().forward(input)


class FrozenLayerNorm(FrozenLayer, nn.LayerNorm):
    """Saves only the input for the backward pass."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if not passes_gradient(input, self):
            return super().forward(input)
        return _LayerNorm.apply(input, self.weight, self.bias, self.normalized_shape, self.eps)


class FrozenGEGLU(FrozenLayer, GEGLU):
    """Saves only the output of the projection for the backward pass."""

    def forward(self, hidden_states: torch.Tensor, *arguments: Any, **options: Any) -> torch.Tensor:
        if not (torch.is_grad_enabled() and hidden_states.requires_grad):
            return super().forward(hidden_states, *arguments, **options)
        return geglu(self.proj(hidden_states))


class FrozenResnetBlock2D(FrozenLayer, ResnetBlock2D):
    """Version of ResnetBlock2D for blocks that `_is_standard` accepts."""

    skip_channels = 0
    "Number of channels at the end of the input that come from a skip connection."

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
        output = shortcut + hidden
        return output if self.output_scale_factor == 1 else output / self.output_scale_factor

    def _wanted_channels(self, joined: torch.Tensor) -> int:
        """Return the number of channels at the start that need a gradient.

        The channels of a skip connection from before the first cross-attention do not depend on the prompt and need none.
        """
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
    """Return whether the input of a layer needs a gradient and none of the layer's own parameters does."""
    trained = any(parameter.requires_grad for parameter in layer.parameters(recurse=False))
    return torch.is_grad_enabled() and input.requires_grad and not trained


def group_norm(norm: nn.GroupNorm, input: torch.Tensor, *, silu: bool = False) -> torch.Tensor:
    """Compute a group norm, optionally followed by SiLU, and save only the input for the backward pass."""
    return _GroupNorm.apply(input, norm.weight, norm.bias, norm.num_groups, norm.eps, silu)


def geglu(projected: torch.Tensor) -> torch.Tensor:
    """Multiply the first half of the channels by GELU of the second half (Shazeer 2020, arXiv 2002.05202), saving only the input.

    Args:
        projected: [..., 2d].

    Returns:
        [..., d].
    """
    return _Geglu.apply(projected)


def conv2d(input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, options: tuple[Any, ...]) -> torch.Tensor:
    """Compute `torch.nn.functional.conv2d`, as a matrix product where that is faster; `options` are those of `is_small`."""
    if is_small(input.shape, weight, options):
        return small_conv2d(input, weight, bias, options)
    return F.conv2d(input, weight, bias, *options)


def conv2d_input_gradient(
    gradient: torch.Tensor, weight: torch.Tensor, shape: torch.Size, options: tuple[Any, ...], channels: int | None
) -> torch.Tensor:
    """Compute the gradient of the input of `conv2d`, in the dtype of the gradient of the output.

    Args:
        gradient: Gradient of the output, [B, o, h', w'].
        weight: [o, c, kh, kw].
        shape: Shape of the input, [B, c, h, w].
        options: As for `is_small`.
        channels: Number of input channels at the start whose gradient is computed; that of the others is 0. None for all.
    """
    batch, width, *sides = shape
    channels = channels or width
    weight = weight[:, :channels].to(gradient.dtype)
    if is_small(shape, weight, options):
        result = small_conv2d_input_gradient(gradient, weight, sides, options)
    else:
        stride, padding, dilation, groups = options
        # As in torch.nn.grad.conv2d_input: only the shape of the input is needed.
        input = gradient.new_empty(1).expand(batch, channels, *sides)
        result = _aten.convolution_backward(
            gradient, input, weight, None, stride, padding, dilation, False, [0, 0], groups, (True, False, False)
        )[0]
    return F.pad(result, (0, 0, 0, 0, 0, width - channels)) if channels < width else result


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
        return conv2d(input, weight, bias, options)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        (weight,) = ctx.saved_tensors
        result = conv2d_input_gradient(gradient, weight, ctx.shape, ctx.options, ctx.channels)
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
        given, weight, bias = ctx.saved_tensors  # read only once: gradient checkpointing does not allow a second access
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
        given, weight, bias = ctx.saved_tensors  # read only once: gradient checkpointing does not allow a second access
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
    """Return the tensors of a norm as used in the forward pass: under autocast, they had the dtype of the output."""
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
    """Set `skip_channels` of the resnets in the up blocks. The UNet of diffusers uses the skip connections in reverse order."""
    skips: list[int] = [unet.conv_in.out_channels]
    for block in unet.down_blocks:
        skips += [resnet.out_channels for resnet in block.resnets]
        skips += [sampler.out_channels for sampler in block.downsamplers or ()]
    for block in unet.up_blocks:
        for resnet in block.resnets:
            resnet.skip_channels = skips.pop()


def whole_groups(norm: nn.GroupNorm, channels: int) -> int:
    """Round a number of channels up to whole groups of a norm, because the gradients within a group depend on each other."""
    group = norm.num_channels // norm.num_groups
    return -(-channels // group) * group
