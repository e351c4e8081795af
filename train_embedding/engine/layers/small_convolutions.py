"""Convolutions with few output pixels and large weights on a CPU, as matrix products: faster than oneDNN.

oneDNN converts the weights to a layout of its own in every call, which takes longer than the convolution. Measured with the
widths of SD1.5, one thread: 1.5 to 3.7 times as long in fp32, 1.6 to 7 times in bf16 on a CPU with AMX.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional as F

POSITIONS = 128
"Largest number of output pixels of a batch: two images of 8 × 8. From 256 on, oneDNN is faster with some weights."
SMALLEST_WEIGHT = 2**21
"Fewest numbers of a weight. With 640 × 640 × 3 × 3, oneDNN is slower at some sizes, with 320 × 320 × 3 × 3 and less faster."
_DTYPES = (torch.float32, torch.bfloat16)


def is_small(input: Sequence[int], weight: torch.Tensor, options: tuple[Any, ...]) -> bool:
    """Return whether a convolution is faster as a matrix product.

    Args:
        input: Shape of the input.
        weight: Weight in the dtype of the computation.
        options: Stride, padding, dilation and groups, as in torch's layer.
    """
    if weight.device.type != "cpu" or weight.dtype not in _DTYPES or options[-1] != 1 or weight.numel() < SMALLEST_WEIGHT:
        return False
    height, width = _output_sides(input, weight, options)
    return input[0] * height * width <= POSITIONS


def small_conv2d(input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, options: tuple[Any, ...]) -> torch.Tensor:
    """Compute `torch.nn.functional.conv2d`, [B, o, h', w'], of an input [B, c, h, w] and a weight [o, c, kh, kw]."""
    stride, padding, dilation, _ = options
    columns = F.unfold(input, weight.shape[2:], dilation, padding, stride).transpose(0, 1).flatten(1)  # [c·kh·kw, B·h'·w']
    table = weight.flatten(1)  # [o, c·kh·kw]
    output = table @ columns if bias is None else torch.addmm(bias[:, None], table, columns)
    sides = _output_sides(input.shape, weight, options)
    return output.view(-1, len(input), *sides).transpose(0, 1).contiguous()


def small_conv2d_input_gradient(
    gradient: torch.Tensor, weight: torch.Tensor, sides: Sequence[int], options: tuple[Any, ...]
) -> torch.Tensor:
    """Compute the gradient of the input, [B, c, h, w], from that of the output, [B, o, h', w']. `sides` are h and w."""
    stride, padding, dilation, _ = options
    # This order of the factors is faster, because the weights are read along their rows.
    rows = gradient.transpose(0, 1).flatten(1).t() @ weight.flatten(1)  # [B·h'·w', c·kh·kw]
    columns = rows.view(len(gradient), -1, rows.shape[1]).transpose(1, 2)  # [B, c·kh·kw, h'·w']
    return F.fold(columns, tuple(sides), tuple(weight.shape[2:]), dilation, padding, stride)


def _output_sides(input: Sequence[int], weight: torch.Tensor, options: tuple[Any, ...]) -> list[int]:
    """Compute height and width by the formula in the documentation of `torch.nn.Conv2d`."""
    sides = zip(input[2:], weight.shape[2:], *options[:3], strict=True)
    return [1 + (side + 2 * pad - gap * (kernel - 1) - 1) // step for side, kernel, step, pad, gap in sides]
