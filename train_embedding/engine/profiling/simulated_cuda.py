"""What torch computes on CUDA, for counting on the meta device: fused attention, and the casts of autocast."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn import functional as F


@contextmanager
def simulate_cuda(autocast: torch.dtype | None = None) -> Generator[None, None, None]:
    """Compute attention in a fused kernel within the context and, with a dtype, cast as autocast does.

    Under autocast, matrix products use `autocast`, norms and softmax fp32. Functions of torch are replaced, so no other thread
    may use torch meanwhile.
    """
    functions: dict[tuple[Any, str], Callable[..., torch.Tensor]] = {(F, "scaled_dot_product_attention"): _fused_attention}
    if autocast is not None:
        functions |= {(F, name): _casting(getattr(F, name), autocast) for name in ("linear", "conv2d")}
        functions |= {(F, name): _casting(getattr(F, name), torch.float32) for name in ("group_norm", "layer_norm", "softmax")}
        functions[F, "scaled_dot_product_attention"] = _casting(_fused_attention, autocast)
        functions[torch, "bmm"] = _casting(torch.bmm, autocast)  # attention in transformers 4.30's CLIP
    before = {place: getattr(*place) for place in functions}
    try:
        for place, function in functions.items():
            setattr(*place, function)
        yield
    finally:
        for place, function in before.items():
            setattr(*place, function)


def _casting(function: Callable[..., torch.Tensor], dtype: torch.dtype) -> Callable[..., torch.Tensor]:
    def cast(value: Any) -> Any:
        return value.to(dtype) if isinstance(value, torch.Tensor) and value.is_floating_point() else value

    def computed(*values: Any, **options: Any) -> torch.Tensor:
        return function(*(cast(value) for value in values), **{name: cast(value) for name, value in options.items()})

    return computed


def _fused_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attn_mask: torch.Tensor | None = None, **options: Any
) -> torch.Tensor:
    causal = attn_mask is not None or bool(options.get("is_causal"))  # CLIP's masks are causal, the UNet has none
    return torch.ops.aten._scaled_dot_product_efficient_attention(query, key, value, None, True, 0.0, causal)[0]
