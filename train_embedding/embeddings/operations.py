"""What can be done with the vectors of embeddings: exact algebra on tables, the same for every text encoder.

Tables are vectors [n, d] per text encoder, the same n for all, as `Embedding.vectors` holds them. Nothing given is changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from train_embedding.embeddings.create import fill
from train_embedding.embeddings.measures import cosine_of_each, norms

Tables = Mapping[str, torch.Tensor]


def count_of(tables: Tables) -> int:
    """The number of vectors."""
    return len(next(iter(tables.values())))


def scaled(tables: Tables, factor: float) -> Tables:
    return {key: table * factor for key, table in tables.items()}


def added(terms: Sequence[Tables]) -> Tables:
    """Vector by vector, from the first term to the last; where a term has no vector it counts as zeros."""
    longest = max(map(count_of, terms))
    sums = {key: _padded(table, longest) for key, table in terms[0].items()}
    for term in terms[1:]:
        sums = {key: table + _padded(term[key], longest) for key, table in sums.items()}
    return sums


def average(tables: Sequence[Tables]) -> Tables:
    """Vector by vector, each the mean of those that have one in its place."""
    total = added(tables)
    having = [sum(count_of(one) > place for one in tables) for place in range(count_of(total))]
    return {key: table / torch.tensor(having, dtype=table.dtype)[:, None] for key, table in total.items()}


def concatenated(tables: Sequence[Tables]) -> Tables:
    return {key: torch.cat([one[key] for one in tables]) for key in tables[0]}


def sliced(tables: Tables, start: int, stop: int) -> Tables:
    """Return the vectors from index `start` up to but not including `stop`."""
    return {key: table[start:stop] for key, table in tables.items()}


def spread(tables: Tables, count: int) -> Tables:
    """As many vectors as wanted, evenly taken, as a new embedding takes them from the tokens of its text."""
    return {key: fill(table, count) for key, table in tables.items()}


def with_norm(tables: Tables, wanted: Mapping[str, float]) -> Tables:
    """Each vector brought to the norm given for its text encoder; a vector of zeros stays as it is."""
    scaled_tables: dict[str, torch.Tensor] = {}
    for key, table in tables.items():
        lengths = norms(table)[:, None]
        scaled_tables[key] = torch.where(lengths > 0, table * (wanted[key] / lengths), table)
    return scaled_tables


def mean_norms(tables: Tables) -> dict[str, float]:
    """The mean norm of the vectors per text encoder."""
    return {key: float(norms(table).mean()) for key, table in tables.items()}


def without_zeros(tables: Tables) -> Tables:
    """The vectors that are not zeros for every text encoder; there may be none."""
    kept = torch.stack([table.any(1) for table in tables.values()]).any(0)
    return {key: table[kept] for key, table in tables.items()}


def reduced(tables: Tables, count: int) -> Tables:
    """The vectors brought down to `count`, in their order: the two neighbours of nearest direction become one, again and again.

    A new vector has the direction of the mean of all that it stands for, and their mean norm, since a mean alone is shorter
    than what it is the mean of, and the norm says how strongly a token acts. Only neighbours are merged, since the place of a
    token in the prompt means something to CLIP: k-means would shuffle them, and the axes of an SVD, which have no sign and are
    orthogonal, are no tokens at all. SDXL's encoders are grouped alike, by the sum of their cosines.
    """
    groups = [[place] for place in range(count_of(tables))]
    means = {key: table.clone() for key, table in tables.items()}  # of each group
    while len(groups) > count:
        alike = torch.stack([cosine_of_each(table[:-1], table[1:]) for table in means.values()]).sum(0)  # [groups - 1]
        first = int(alike.argmax())
        groups[first : first + 2] = [groups[first] + groups[first + 1]]
        for key, table in means.items():
            merged = tables[key][groups[first]].mean(0, keepdim=True)
            means[key] = torch.cat([table[:first], merged, table[first + 2 :]])
    return {key: _at_mean_norm(table, tables[key], groups) for key, table in means.items()}


def _at_mean_norm(means: torch.Tensor, table: torch.Tensor, groups: Sequence[Sequence[int]]) -> torch.Tensor:
    """Means [m, d] of groups of vectors of the table [n, d], at the mean norm of each group; a group of one is its vector."""
    rows = [
        table[group[0]] if len(group) == 1 else torch.nn.functional.normalize(mean, dim=0) * norms(table[list(group)]).mean()
        for mean, group in zip(means, groups, strict=True)
    ]
    return torch.stack(rows)


def _padded(table: torch.Tensor, count: int) -> torch.Tensor:
    return torch.cat([table, table.new_zeros(count - len(table), table.shape[1])]) if len(table) < count else table
