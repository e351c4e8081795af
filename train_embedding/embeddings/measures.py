"""How alike vectors are: cosines of pairs, of tables, and of embeddings with different numbers of vectors."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch.nn import functional as F


def norms(vectors: torch.Tensor) -> torch.Tensor:
    """The length of each vector of [n, d]: [n]."""
    return cast(torch.Tensor, vectors.norm(dim=1))  # pyright: ignore[reportUnknownMemberType]


def numbers(tensor: torch.Tensor) -> list[Any]:
    """The tensor as Python's own numbers, in lists as deep as it has dimensions."""
    return cast("list[Any]", tensor.tolist())  # pyright: ignore[reportUnknownMemberType]


def cosines(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Of every vector of [n, d] with every vector of [m, d]: [n, m]. A vector of zeros has no direction: its cosines are 0."""
    return F.normalize(one.float()) @ F.normalize(other.float()).T


def cosine_of_each(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Of each vector of [n, d] with the vector in its place in another [n, d]: [n]."""
    return (F.normalize(one.float()) * F.normalize(other.float())).sum(1)


def cosine_of_all(one: torch.Tensor, other: torch.Tensor) -> float:
    """Of two tables [n, d], each taken as one long vector."""
    return float(cosine_of_each(one.reshape(1, -1), other.reshape(1, -1)))


def likeness(one: torch.Tensor, other: torch.Tensor) -> float:
    """Of tables [n, d] and [m, d], whatever their order: the mean cosine of each vector's best match in the other table.

    1 where every direction of each is one of the other's, so an embedding is as like its own copies as can be.
    """
    pairs = cosines(one, other)
    return float(pairs.amax(1).mean() + pairs.amax(0).mean()) / 2
