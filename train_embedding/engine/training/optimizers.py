"""Optimizers for the vectors."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false, reportMissingTypeStubs=false
# torch's annotations are incomplete for some methods, and prodigyopt has none.

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from torch.optim import Optimizer

from train_embedding.errors import InvalidSpec
from train_embedding.messages import msg


def make_optimizer(name: str, vectors: Iterable[torch.Tensor], rate: float) -> Optimizer:
    """Make an optimizer.

    AdamW has no weight decay, which would pull the vectors towards zero regardless of the images.

    Args:
        name: "adamw", "direction", or "prodigy", which estimates its step size and multiplies it by the rate (Mishchenko &
            Defazio 2023, arXiv 2306.06101).
        vectors: The trained vectors, [n, d] each.
        rate: Learning rate of the first step.

    Raises:
        InvalidSpec: Prodigy is not installed.
    """
    tensors = list(vectors)
    if name == "direction":
        return DirectionSGD(tensors, rate)
    if name == "prodigy":
        return _prodigy(tensors, rate)
    return torch.optim.AdamW(tensors, lr=rate, weight_decay=0.0)


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """Set the learning rate of the next step."""
    for group in optimizer.param_groups:
        group["lr"] = rate


class DirectionSGD(Optimizer):
    """Rotates each vector and keeps its norm: Directional Textual Inversion (Kim et al. 2025, arXiv 2512.13672, section 4).

    An embedding vector is e = m·v with |v| = 1. From the gradient of v, κ·μ is subtracted for a von Mises–Fisher prior around the
    first direction μ. The result is projected onto the tangent space and divided by the root of the running mean of its squared
    norm. v moves by the learning rate in the opposite direction and is normalised. A vector of zeros has no direction and does
    not change.

    Without the running mean (β₂ = 0), as in all experiments of the authors' code (github.com/kunheek/dti), every step turns v by
    the same angle, about the learning rate in radians. The rate should therefore fall during the run. The authors multiply a
    rate of 0.01 by the batch size.

    Args:
        vectors: The trained vectors, [n, d] each.
        rate: Learning rate.
        prior: κ; the default is that of the authors' code.
        beta: β₂ of the running mean; 0 divides by the norm of the current gradient.
    """

    def __init__(self, vectors: Iterable[torch.Tensor], rate: float, *, prior: float = 1e-4, beta: float = 0.0) -> None:
        super().__init__(vectors, {"lr": rate, "prior": prior, "beta": beta})
        for tensor in self._tensors():
            norm = tensor.detach().norm(dim=-1, keepdim=True)  # [n, 1]
            direction = tensor.detach() / norm.clamp(min=torch.finfo(tensor.dtype).tiny)
            self.state[tensor] = {"step": 0, "norm": norm, "first": direction, "square": torch.zeros_like(norm)}

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Rotate every vector that has a gradient."""
        loss = closure() if closure else None
        for group in self.param_groups:
            for tensor in group["params"]:
                if tensor.grad is not None:
                    _rotate(tensor, self.state[tensor], group["lr"], group["prior"], group["beta"])
        return loss

    def _tensors(self) -> list[torch.Tensor]:
        return [tensor for group in self.param_groups for tensor in cast("list[torch.Tensor]", group["params"])]


def _rotate(tensor: torch.Tensor, state: dict[str, Any], rate: float, prior: float, beta: float) -> None:
    state["step"] += 1
    norm = state["norm"]
    tiny = torch.finfo(tensor.dtype).tiny
    direction = tensor / norm.clamp(min=tiny)
    gradient = tensor.grad * norm - prior * state["first"]  # [n, d]
    tangent = gradient - (gradient * direction).sum(-1, keepdim=True) * direction
    state["square"].lerp_(tangent.square().sum(-1, keepdim=True), 1 - beta)
    size = (state["square"] / (1 - beta ** state["step"])).sqrt()
    moved = direction - rate * tangent / size.clamp(min=tiny)
    tensor.copy_(norm * moved / moved.norm(dim=-1, keepdim=True).clamp(min=tiny))


def _prodigy(tensors: list[torch.Tensor], rate: float) -> Optimizer:
    if importlib.util.find_spec("prodigyopt") is None:
        raise InvalidSpec(
            msg("The optimizer Prodigy is not installed."), msg("Install the package prodigyopt, or choose another optimizer.")
        )
    from prodigyopt import Prodigy

    return Prodigy(tensors, lr=rate)
