"""Norms and cosine similarities of vectors and embeddings."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch.nn import functional as F


def norms(vectors: torch.Tensor) -> torch.Tensor:
    """Return the L2 norm of each vector: [n, d] to [n]."""
    return cast(torch.Tensor, vectors.norm(dim=1))  # pyright: ignore[reportUnknownMemberType]


def numbers(tensor: torch.Tensor) -> list[Any]:
    """Return the tensor as nested lists of Python numbers."""
    return cast("list[Any]", tensor.tolist())  # pyright: ignore[reportUnknownMemberType]


def cosines(vectors: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Return the cosine of every vector [n, d] with every other vector [m, d]: [n, m]. Zero vectors have cosine 0."""
    return F.normalize(vectors.float()) @ F.normalize(others.float()).T


def cosine_of_each(vectors: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Return the cosines of vectors at the same index of two tensors [n, d]: [n]."""
    return (F.normalize(vectors.float()) * F.normalize(others.float())).sum(1)


def cosine_of_all(vectors: torch.Tensor, others: torch.Tensor) -> float:
    """Return the cosine of two tensors [n, d], each flattened to one vector."""
    return float(cosine_of_each(vectors.reshape(1, -1), others.reshape(1, -1)))


def similarity(vectors: torch.Tensor, others: torch.Tensor) -> float:
    """Return how similar two embeddings are, regardless of the number and order of their vectors.

    Args:
        vectors: [n, d].
        others: [m, d].

    Returns:
        The mean cosine of each vector's best match in the other tensor; 1 if both contain the same directions.
    """
    pairs = cosines(vectors, others)
    return float(pairs.amax(1).mean() + pairs.amax(0).mean()) / 2
