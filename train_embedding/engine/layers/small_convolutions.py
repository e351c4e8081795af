"""Convolutions with small outputs and large weights on a CPU, as matrix products: faster than oneDNN at batch size 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional as F

POSITIONS = 64
"Largest number of output pixels, 8 × 8. At 16 × 16 pixels there is no difference in speed."
SMALLEST_WEIGHT = 2**21
"Fewest numbers of a weight. With 640 × 640 × 3 × 3, oneDNN is slower (1.2 to 1.8 times), with 320 × 320 × 3 × 3 and less faster."


def is_small(input: Sequence[int], weight: torch.Tensor, options: tuple[Any, ...]) -> bool:
    """Return whether a convolution is faster as a matrix product.

    Args:
        input: Shape of the input.
        weight: Weight in the dtype of the computation.
        options: Stride, padding, dilation and groups, as in torch's layer.
    """
    if weight.device.type != "cpu" or weight.dtype != torch.float32 or options[-1] != 1 or input[0] != 1:
        return False
    if weight.numel() < SMALLEST_WEIGHT:
        return False
    height, width = _output_sides(input, weight, options)
    return height * width <= POSITIONS


def small_conv2d(input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, options: tuple[Any, ...]) -> torch.Tensor:
    """Compute `torch.nn.functional.conv2d`, [1, o, h', w'], of an input [1, c, h, w] and a weight [o, c, kh, kw]."""
    stride, padding, dilation, _ = options
    columns = F.unfold(input, weight.shape[2:], dilation, padding, stride)[0]  # [c·kh·kw, h'·w']
    table = weight.flatten(1)  # [o, c·kh·kw]
    output = table @ columns if bias is None else torch.addmm(bias[:, None], table, columns)
    return output.view(1, -1, *_output_sides(input.shape, weight, options))


def small_conv2d_input_gradient(
    gradient: torch.Tensor, weight: torch.Tensor, sides: Sequence[int], options: tuple[Any, ...]
) -> torch.Tensor:
    """Compute the gradient of the input, [1, c, h, w], from that of the output, [1, o, h', w']. `sides` are h and w."""
    stride, padding, dilation, _ = options
    # This order of the factors is faster, because the weights are read along their rows.
    columns = (gradient[0].flatten(1).t() @ weight.flatten(1)).t()  # [c·kh·kw, h'·w']
    return F.fold(columns[None], tuple(sides), tuple(weight.shape[2:]), dilation, padding, stride)


def _output_sides(input: Sequence[int], weight: torch.Tensor, options: tuple[Any, ...]) -> list[int]:
    """Compute height and width by the formula in the documentation of `torch.nn.Conv2d`."""
    sides = zip(input[2:], weight.shape[2:], *options[:3], strict=True)
    return [1 + (side + 2 * pad - gap * (kernel - 1) - 1) // step for side, kernel, step, pad, gap in sides]
