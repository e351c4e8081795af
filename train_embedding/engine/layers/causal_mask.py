"""The causal mask of transformers 4.30's CLIP, made without waiting for the device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

_FUNCTION = "_make_causal_mask"


@contextmanager
def causal_mask_on_device() -> Iterator[None]:
    """Within the context, transformers' CLIP makes its causal mask where it is needed.

    In 4.30 it sends a number to the device and reads it back for that, at every call, and the program waits twice. Later releases
    have no such function and are left alone.
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
    """0 for what a token may look at and the lowest number above it, [B, 1, n, n]. shape: (B, n)."""
    batch, length = shape
    mask = torch.full((length, length), torch.finfo(dtype).min, dtype=dtype, device=device).triu(1)
    return mask.expand(batch, 1, length, length)
