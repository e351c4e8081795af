"""Choice of the words that an embedding starts from, by their evaluation loss: forward passes only, no gradient.

Candidates are compared on a few evaluation items first; the worse half is left out, and the others are compared on more items
(successive halving: Jamieson & Talwalkar 2016, arXiv 1502.07943). Pairs of the best words follow, as two vectors or as their sum.
The gradient of the loss with respect to the whole vocabulary is no substitute: it predicts the loss of a word badly.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# torch's annotations are incomplete for some methods of Tensor.

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from train_embedding.embeddings.create import fill

VectorTables = dict[str, torch.Tensor]
"Vectors per text encoder, fp32 [n, d]."
ROUNDS = (4, 4, 8)
"Evaluation items that each round adds."
PAIRED = 3
"Number of the best words of which pairs are tried."
SMALL_NORM = 1 / 3
"""Words whose norm is below this fraction of the largest one are not tried: the checkpoint has hardly been trained on them.
Such a word says little, which is often better than a wrong word, but it is a bad start: an optimizer may keep its norm."""


@dataclass
class Candidate:
    """Vectors to start from, and their losses so far.

    Attributes:
        label: The words; empty for the embedding as it is.
        vectors: Vectors [n, d] per text encoder, on the CPU.
        losses: Losses of the items that it has been evaluated on, in the order of the rounds.
    """

    label: str
    vectors: VectorTables
    losses: list[float] = field(default_factory=list[float])

    @property
    def loss(self) -> float:
        """Mean of the losses; infinite if one of them is not finite."""
        mean = sum(self.losses) / len(self.losses)
        return mean if math.isfinite(mean) else math.inf


def choose_start_words(
    current: VectorTables,
    words: Mapping[str, VectorTables],
    evaluate: Callable[[VectorTables, int], Sequence[float]],
    *,
    stopped: Callable[[], bool] = lambda: False,
) -> list[Candidate]:
    """Rank words, and pairs of the best ones, by their evaluation loss.

    Args:
        current: The vectors of the embedding as it is, [n, d] per text encoder; a candidate too, unless all are zeros.
        words: Token embeddings [m, d] per text encoder of each word or phrase.
        evaluate: Returns the losses of vectors on the items of a round, counted from 0 to len(ROUNDS) − 1.
        stopped: Returns whether to stop early, with the ranking so far; asked after the first round.

    Returns:
        All candidates that were evaluated, the best one first: those with more items before those that were left out. The first
        one is what to start from. Empty if there is no candidate.
    """
    count = len(next(iter(current.values())))
    words = _trained(words)
    singles = [Candidate(word, {key: fill(table, count) for key, table in tables.items()}) for word, tables in words.items()]
    as_it_is = [Candidate("", current)] if any(bool(table.any()) for table in current.values()) else []
    left, ranked = [*as_it_is, *singles], list[Candidate]()
    for number in range(len(ROUNDS)):
        if number and stopped():
            break
        for candidate in left:
            candidate.losses += evaluate(candidate.vectors, number)
        left.sort(key=_loss)
        if number < len(ROUNDS) - 1:
            half = max(PAIRED + 1, -(-len(left) // 2))
            ranked = left[half:] + ranked
            left = left[:half]
    best = [candidate for candidate in left if candidate.label][:PAIRED]
    for pair in () if stopped() else _pairs(best, words, count):
        for number in range(len(ROUNDS)):
            pair.losses += evaluate(pair.vectors, number)
        left.append(pair)
    return sorted(left, key=_loss) + ranked


def _trained(words: Mapping[str, VectorTables]) -> Mapping[str, VectorTables]:
    """Return the words that are not much shorter than the longest one, in any text encoder; see SMALL_NORM."""
    norms = {word: {key: float(table.norm(dim=1).mean()) for key, table in tables.items()} for word, tables in words.items()}
    encoders = {key for found in norms.values() for key in found}
    least = {key: SMALL_NORM * max(found[key] for found in norms.values()) for key in encoders}
    return {word: words[word] for word, found in norms.items() if all(found[key] >= least[key] for key in least)}


def _loss(candidate: Candidate) -> float:
    return candidate.loss


def _pairs(best: Sequence[Candidate], words: Mapping[str, VectorTables], count: int) -> list[Candidate]:
    """Return each pair of words in both forms: one after the other, if there are two vectors or more, and as their sum."""
    pairs: list[Candidate] = []
    for first, second in itertools.combinations(best, 2):
        one, other = words[first.label], words[second.label]
        if count > 1:
            joined = {key: fill(torch.cat([one[key], other[key]]), count) for key in one}
            pairs.append(Candidate(f"{first.label}, {second.label}", joined))
        summed = {key: fill(_sum(one[key][:1], other[key][:1]), count) for key in one}
        pairs.append(Candidate(f"{first.label} + {second.label}", summed))
    return pairs


def _sum(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Return the sum of two vectors, [1, d], with the mean of their norms."""
    total = one + other
    norm = (one.norm(dim=1, keepdim=True) + other.norm(dim=1, keepdim=True)) / 2
    return total * norm / total.norm(dim=1, keepdim=True).clamp(min=1e-12)
