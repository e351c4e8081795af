"""What the UNet is told besides the noisy latents: a prompt's context and, with SDXL, a pooled vector and the image's size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Conditioning:
    """Prompts as the UNet sees them."""

    context: torch.Tensor
    "What its cross-attention reads, [B, k * 77, sum of the encoders' widths]."
    pooled: torch.Tensor | None = None
    "The projected end-of-text state of SDXL's second encoder, [B, p]; None for other families."

    def map(self, function: Callable[[torch.Tensor], torch.Tensor]) -> Conditioning:
        return Conditioning(function(self.context), None if self.pooled is None else function(self.pooled))

    def to(self, dtype: torch.dtype) -> Conditioning:
        return self.map(lambda tensor: tensor.to(dtype))

    def __add__(self, other: Conditioning) -> Conditioning:
        """The prompts of both, one batch after the other. The contexts must be equally long."""
        pooled = None if self.pooled is None or other.pooled is None else torch.cat([self.pooled, other.pooled])
        return Conditioning(torch.cat([self.context, other.context]), pooled)


def make_time_ids(height: int, width: int, crop: tuple[int, int], batch: int, device: torch.device) -> torch.Tensor:
    """SDXL's size conditioning (Podell et al. 2023, section 2.2), fp32 [batch, 6].

    Original height and width, the crop's top and left, target height and width. Original and target are both the size of
    the image, as the WebUI has them when it draws: an embedding is trained for what it will be used with.
    """
    # Filled on the device, one number each: a tensor of a list would be copied there, and waited for, in every step.
    numbers = (height, width, *crop, height, width)
    return torch.stack([torch.full((batch,), float(number), device=device) for number in numbers], 1)
