"""A causal mask for CLIP in transformers 4.30 that does not synchronize with the device."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch

_FUNCTION = "_make_causal_mask"


@contextmanager
def causal_mask_on_device() -> Generator[None, None, None]:
    """Make CLIP create its causal mask on the device, within the context.

    transformers 4.30 copies a number to the device and back in each call, which synchronizes twice. Later releases do not have
    this function and are not changed.
    """
    from transformers.models.clip import modeling_clip

    module: Any = modeling_clip
    before = getattr(module, _FUNCTION, None)
    if before is None:
        yield
        return
    setattr(module, _FUNCTION, make_causal_mask)
    try:
        yield
    finally:
        setattr(module, _FUNCTION, before)


def make_causal_mask(
    shape: tuple[int, int], dtype: torch.dtype, device: torch.device, past_key_values_length: int = 0
) -> torch.Tensor:
    """Make a mask with 0 on and below the diagonal, and the lowest number of the dtype above it, [B, 1, n, n].

    Args:
        shape: B and n.
        dtype: Dtype of the mask.
        device: Device of the mask.
        past_key_values_length: Always 0 here; part of the replaced signature.
    """
    batch, length = shape
    mask = torch.full((length, length), torch.finfo(dtype).min, dtype=dtype, device=device).triu(1)
    return mask.expand(batch, 1, length, length)
