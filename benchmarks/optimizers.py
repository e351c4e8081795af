"""Second-order and low-rank variants of *Direction*, which `benchmarks.learning` compares with it on the tuning half."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch

from train_embedding.engine.training.optimizers import DirectionSGD

MakeOptimizer = Callable[[list[torch.Tensor], float, torch.Tensor], torch.optim.Optimizer]
"Makes an optimizer of the trained vectors, [n, d] each, given the first learning rate and the embeddings of words, [words, d]."


class PreconditionedDirection(DirectionSGD):
    """*Direction* that turns the vectors along preconditioned gradients. The angle of a turn stays the learning rate.

    Args:
        vectors: The trained vectors, [n, d] each.
        rate: Learning rate.
        precondition: Returns what replaces a gradient [n, d], given the vectors that it belongs to.
    """

    def __init__(
        self, vectors: list[torch.Tensor], rate: float, precondition: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    ) -> None:
        super().__init__(vectors, rate)
        self._precondition = precondition

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Precondition the gradients, and rotate every vector that has one."""
        for group in self.param_groups:
            for tensor in cast("list[torch.Tensor]", group["params"]):
                if tensor.grad is not None:
                    tensor.grad = self._precondition(tensor.grad, tensor)
        return super().step(closure)


def full_matrix(damping: float) -> MakeOptimizer:
    """Divide by the root of the mean outer product of all gradients so far: full-matrix AdaGrad (Duchi et al. 2011).

    The matrix has at most as many eigenvalues above 0 as there were gradients, so their Gram matrix gives its root, as in GGT
    (Agarwal et al. 2019, arXiv 1806.02958). All vectors of a text encoder share one matrix, [n·d, n·d].

    Args:
        damping: Added to the eigenvalues, as a fraction of the largest one.
    """

    def make(vectors: list[torch.Tensor], rate: float, _words: torch.Tensor) -> torch.optim.Optimizer:
        past: dict[int, list[torch.Tensor]] = {}

        def precondition(gradient: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor:
            gradients = past.setdefault(id(tensor), [])
            gradients.append(gradient.flatten().double())
            rows = torch.stack(gradients)  # [t, n·d]
            values, basis = torch.linalg.eigh(rows @ rows.T / len(rows))  # [t], [t, t]
            values = values.clamp(min=0)
            used = values > values.max() * 1e-9
            values, basis = values[used], basis[:, used]
            directions = rows.T @ basis / (len(rows) * values).sqrt()  # orthonormal columns [n·d, r]
            scaled = directions.T @ rows[-1] / (values + damping * values.max()).sqrt()
            return (directions @ scaled).to(gradient.dtype).view_as(gradient)

        return PreconditionedDirection(vectors, rate, precondition)

    return make


def low_rank(rank: int) -> MakeOptimizer:
    """Project gradients to the directions in which words differ most.

    Args:
        rank: Number of principal components of the embeddings of words.
    """

    def make(vectors: list[torch.Tensor], rate: float, words: torch.Tensor) -> torch.optim.Optimizer:
        centred = (words - words.mean(0)).double()
        components = torch.linalg.svd(centred, full_matrices=False).Vh[:rank].float()  # orthonormal rows [rank, d]
        return PreconditionedDirection(vectors, rate, lambda gradient, _tensor: gradient @ components.T @ components)

    return make
