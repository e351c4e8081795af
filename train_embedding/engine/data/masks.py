"""Loss masks at the latents' resolution."""

from __future__ import annotations

import torch
from torch.nn import functional as F

_ALIKE = 1 / 255
"The difference between two places that an 8-bit mask cannot show."


def pool_mask(mask: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """The share of each latent place that the mask shows, [h, w]. mask: float [H, W], 0…1."""
    return F.adaptive_avg_pool2d(mask[None], (height, width))[0]


def mask_weights(mask: torch.Tensor | None, floor: float) -> torch.Tensor | None:
    """The weight of each place, `floor` where the mask shows nothing and 1 where it shows all; [h, w] as the mask.

    None, which stands for weights that are all alike, without a mask, and for one that shows every place alike: all, nothing, or
    the same share of each. An image that is wholly transparent counts like one that is wholly opaque.
    """
    if mask is None or float(mask.max() - mask.min()) < _ALIKE:
        return None
    return floor + (1 - floor) * mask
