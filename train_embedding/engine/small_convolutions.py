"""3×3 convolutions over few positions on a CPU, as one matrix product: oneDNN takes two to three times as long there."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F

POSITIONS = 64
"Pixels of the largest input that gains, 8 × 8; at 16 × 16 both ways take about as long."
_LIKE_PADDED = ((1, 1), (1, 1), (1, 1), 1)


def is_small(input: torch.Tensor, weight: torch.Tensor, options: tuple[Any, ...]) -> bool:
    """Whether a convolution is better done here. options: stride, padding, dilation, groups."""
    return (
        input.device.type == "cpu"
        and input.dtype == weight.dtype == torch.float32
        and len(input) == 1
        and input[0, 0].numel() <= POSITIONS
        and weight.shape[2:] == (3, 3)
        and options == _LIKE_PADDED
    )


def convolved(input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """input: [1, c, h, w]; weight: [o, c, 3, 3]; gives [1, o, h, w]."""
    columns, table = F.unfold(input, 3, padding=1)[0], weight.flatten(1)  # [9c, hw], [o, 9c]
    output = table @ columns if bias is None else torch.addmm(bias[:, None], table, columns)
    return output.view(1, -1, *input.shape[2:])


def input_gradient(gradient: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """gradient: of the output, [1, o, h, w]; gives that of the input, [1, c, h, w]."""
    # This order of the factors is the faster one: the weights are read along their rows.
    columns = (gradient[0].flatten(1).t() @ weight.flatten(1)).t()  # [9c, hw]
    return F.fold(columns[None], gradient.shape[2:], 3, padding=1)
