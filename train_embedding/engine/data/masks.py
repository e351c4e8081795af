"""Loss masks at the resolution of the latents."""

from __future__ import annotations

import torch
from torch.nn import functional as F

_UNIFORM = 1 / 255
"Smallest difference that an 8-bit mask can show."


def pool_mask(mask: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Average a mask [H, W] with values from 0 to 1 to the resolution of the latents, [h, w]."""
    return F.adaptive_avg_pool2d(mask[None], (height, width))[0]


def mask_weights(mask: torch.Tensor | None, floor: float) -> torch.Tensor | None:
    """Compute the loss weight of each position, [h, w].

    Args:
        mask: From 0 to 1, [h, w]; None for an image without a mask.
        floor: Weight where the mask is 0. It is 1 where the mask is 1.

    Returns:
        The weights, or None if all are equal: without a mask, or with a uniform mask. A fully transparent image thus has the same
        weight as an opaque image.
    """
    if mask is None or float(mask.max() - mask.min()) < _UNIFORM:
        return None
    return floor + (1 - floor) * mask
