"""Arithmetic on the vectors of embeddings, the same for every text encoder.

The functions take and return vectors [n, d] by text encoder, with the same n for all, as in `Embedding.vectors`. Arguments are
never modified.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from train_embedding.embeddings.create import fill
from train_embedding.embeddings.measures import cosine_of_each, norms

Tables = Mapping[str, torch.Tensor]


def count_of(tables: Tables) -> int:
    """Return the number of vectors."""
    return len(next(iter(tables.values())))


def scaled(tables: Tables, factor: float) -> Tables:
    """Multiply all vectors by a factor."""
    return {key: table * factor for key, table in tables.items()}


def added(terms: Sequence[Tables]) -> Tables:
    """Add vectors of the same index, in the order of the terms; missing vectors count as zeros."""
    longest = max(map(count_of, terms))
    sums = {key: _padded(table, longest) for key, table in terms[0].items()}
    for term in terms[1:]:
        sums = {key: table + _padded(term[key], longest) for key, table in sums.items()}
    return sums


def average(tables: Sequence[Tables]) -> Tables:
    """Average vectors of the same index over the embeddings that have a vector there."""
    total = added(tables)
    contributors = [sum(count_of(each) > index for each in tables) for index in range(count_of(total))]
    return {key: table / torch.tensor(contributors, dtype=table.dtype)[:, None] for key, table in total.items()}


def concatenated(tables: Sequence[Tables]) -> Tables:
    """Put the vectors of several embeddings one after the other."""
    return {key: torch.cat([each[key] for each in tables]) for key in tables[0]}


def sliced(tables: Tables, start: int, stop: int) -> Tables:
    """Return the vectors from index `start` up to but not including `stop`."""
    return {key: table[start:stop] for key, table in tables.items()}


def spread(tables: Tables, count: int) -> Tables:
    """Spread the vectors evenly over another number of vectors, as `create.fill` does."""
    return {key: fill(table, count) for key, table in tables.items()}


def with_norm(tables: Tables, wanted: Mapping[str, float]) -> Tables:
    """Scale each vector to the norm given for its text encoder; zero vectors are unchanged."""
    scaled_tables: dict[str, torch.Tensor] = {}
    for key, table in tables.items():
        lengths = norms(table)[:, None]
        scaled_tables[key] = torch.where(lengths > 0, table * (wanted[key] / lengths), table)
    return scaled_tables


def mean_norms(tables: Tables) -> dict[str, float]:
    """Return the mean norm of the vectors by text encoder."""
    return {key: float(norms(table).mean()) for key, table in tables.items()}


def without_zeros(tables: Tables) -> Tables:
    """Remove vectors that are zero for every text encoder; the result may be empty."""
    kept = torch.stack([table.any(1) for table in tables.values()]).any(0)
    return {key: table[kept] for key, table in tables.items()}


def reduced(tables: Tables, count: int) -> Tables:
    """Reduce the number of vectors by repeatedly merging the two neighbours with the most similar directions.

    A merged vector has the direction of the mean of its group, at the group's mean norm: the mean alone would be shorter, and
    the norm determines how strongly a token acts. Only neighbours are merged, since the order of tokens in a prompt matters to
    CLIP; k-means would mix up that order, and SVD axes have no sign and do not look like tokens. SDXL's two encoders are grouped
    in the same way, by the sum of their cosines.

    Args:
        tables: At least `count` vectors.
        count: Number of vectors to keep.
    """
    groups = [[index] for index in range(count_of(tables))]
    means = {key: table.clone() for key, table in tables.items()}  # of each group
    while len(groups) > count:
        similarity = torch.stack([cosine_of_each(table[:-1], table[1:]) for table in means.values()]).sum(0)  # [groups - 1]
        first = int(similarity.argmax())
        groups[first : first + 2] = [groups[first] + groups[first + 1]]
        for key, table in means.items():
            merged = tables[key][groups[first]].mean(0, keepdim=True)
            means[key] = torch.cat([table[:first], merged, table[first + 2 :]])
    return {key: _at_mean_norm(table, tables[key], groups) for key, table in means.items()}


def _at_mean_norm(means: torch.Tensor, table: torch.Tensor, groups: Sequence[Sequence[int]]) -> torch.Tensor:
    """Scale the means [m, d] of groups of vectors of a table [n, d] to each group's mean norm; groups of one are copied."""
    rows = [
        table[group[0]] if len(group) == 1 else torch.nn.functional.normalize(mean, dim=0) * norms(table[list(group)]).mean()
        for mean, group in zip(means, groups, strict=True)
    ]
    return torch.stack(rows)


def _padded(table: torch.Tensor, count: int) -> torch.Tensor:
    """Append zero vectors up to a number of vectors."""
    return torch.cat([table, table.new_zeros(count - len(table), table.shape[1])]) if len(table) < count else table
