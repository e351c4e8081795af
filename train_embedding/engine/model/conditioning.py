"""Conditioning of a UNet: encoded prompts and, for SDXL, pooled vectors and image sizes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Conditioning:
    """Encoded prompts.

    Attributes:
        context: Input of the cross-attention, [B, k * 77, sum of the encoders' widths].
        pooled: Projected end-of-text state of SDXL's second text encoder, [B, p]; None for other families.
    """

    context: torch.Tensor
    pooled: torch.Tensor | None = None

    def map(self, function: Callable[[torch.Tensor], torch.Tensor]) -> Conditioning:
        """Apply a function to each tensor."""
        return Conditioning(function(self.context), None if self.pooled is None else function(self.pooled))

    def to(self, dtype: torch.dtype) -> Conditioning:
        """Convert the tensors to a dtype."""
        return self.map(lambda tensor: tensor.to(dtype))

    def __add__(self, other: Conditioning) -> Conditioning:
        """Concatenate two batches with contexts of the same length."""
        pooled = None if self.pooled is None or other.pooled is None else torch.cat([self.pooled, other.pooled])
        return Conditioning(torch.cat([self.context, other.context]), pooled)


def make_time_ids(height: int, width: int, crop: tuple[int, int], batch: int, device: torch.device) -> torch.Tensor:
    """Make SDXL's size conditioning, fp32 [batch, 6] (Podell et al. 2023, arXiv 2307.01952, section 2.2).

    It consists of original height and width, crop top and left, and target height and width. Original and target size are the
    size of the image, as in the WebUI's samplers.

    Args:
        height: Height of the images in pixels.
        width: Width of the images in pixels.
        crop: Top and left.
        batch: Number of rows.
        device: Device of the result.
    """
    # Created on the device: copying a list to the device would synchronize in each step.
    numbers = (height, width, *crop, height, width)
    return torch.stack([torch.full((batch,), float(number), device=device) for number in numbers], 1)
