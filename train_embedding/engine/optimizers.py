"""Optimizers over the vectors."""

from __future__ import annotations

from collections.abc import Iterable

import torch


def new_optimizer(vectors: Iterable[torch.Tensor], rate: float) -> torch.optim.Optimizer:
    """AdamW without weight decay, which would pull the vectors towards zero whatever the pictures say."""
    return torch.optim.AdamW(list(vectors), lr=rate, weight_decay=0.0)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate
