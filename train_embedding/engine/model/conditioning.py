"""The conditioning of a UNet: encoded prompts and, for SDXL, pooled vectors and the size of the image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Conditioning:
    """Encoded prompts."""

    context: torch.Tensor
    "For the cross-attention, [B, k * 77, sum of the encoders' widths]."
    pooled: torch.Tensor | None = None
    "Projected end-of-text state of SDXL's second encoder, [B, p]; None for other families."

    def map(self, function: Callable[[torch.Tensor], torch.Tensor]) -> Conditioning:
        """Apply a function to each tensor."""
        return Conditioning(function(self.context), None if self.pooled is None else function(self.pooled))

    def to(self, dtype: torch.dtype) -> Conditioning:
        """Convert the tensors to a dtype."""
        return self.map(lambda tensor: tensor.to(dtype))

    def __add__(self, other: Conditioning) -> Conditioning:
        """Concatenate two batches, whose contexts must be equally long."""
        pooled = None if self.pooled is None or other.pooled is None else torch.cat([self.pooled, other.pooled])
        return Conditioning(torch.cat([self.context, other.context]), pooled)


def make_time_ids(height: int, width: int, crop: tuple[int, int], batch: int, device: torch.device) -> torch.Tensor:
    """Make SDXL's size conditioning, fp32 [batch, 6] (Podell et al. 2023, arXiv 2307.01952, section 2.2).

    It consists of original height and width, crop top and left, target height and width. Original and target size are both that
    of the image, as in the WebUI's sampling: an embedding is trained for what it will be used with.

    Args:
        height: Of the image, in pixels.
        width: Of the image, in pixels.
        crop: Top and left.
        batch: Rows.
        device: Of the result.
    """
    # Filled on the device: a tensor of a list would be copied there, and waited for, in every step.
    numbers = (height, width, *crop, height, width)
    return torch.stack([torch.full((batch,), float(number), device=device) for number in numbers], 1)
