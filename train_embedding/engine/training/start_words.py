"""Choice of the words that an embedding starts from, by their evaluation loss: forward passes only, no gradient.

Candidates are compared on a few evaluation items first; only the best quarter is compared on more (successive halving: Jamieson &
Talwalkar 2016, arXiv 1502.07943). The gradient of the loss with respect to the whole vocabulary is no substitute: it predicts
the loss of a word badly.
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
Evaluate = Callable[[VectorTables, int], Sequence[float]]
"Returns the losses of vectors on the items of a round, counted from 0."
Stopped = Callable[[], bool]
ROUNDS = (4, 4, 8)
"Evaluation items that each round adds."
KEPT_PART = 4
"Only one in this many words takes part in the next round."
LEAST_KEPT = 3
"Smallest number of words that take part in the next round; those of the last round are also tried in other forms."
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
        words: The words that were added to an init text.
    """

    label: str
    vectors: VectorTables
    losses: list[float] = field(default_factory=list[float])
    words: tuple[str, ...] = ()

    @property
    def loss(self) -> float:
        """Mean of the losses; infinite if one of them is not finite."""
        mean = sum(self.losses) / len(self.losses)
        return mean if math.isfinite(mean) else math.inf


def choose_start_words(
    current: VectorTables, words: Mapping[str, VectorTables], evaluate: Evaluate, *, stopped: Stopped = lambda: False
) -> list[Candidate]:
    """Rank words, and pairs of the best ones, by their evaluation loss.

    A pair becomes two vectors, or the sum of both.

    Args:
        current: The vectors of the embedding as it is, [n, d] per text encoder; a candidate too, unless all are zeros.
        words: Token embeddings [m, d] per text encoder of each word or phrase.
        evaluate: Returns the losses of vectors on the items of a round, counted from 0 to len(ROUNDS) − 1.
        stopped: Returns whether to stop early, with the ranking so far; asked after the first round.

    Returns:
        All candidates that were evaluated, the best one first: those with more items before those that were left out. The first
        one is what to start from. Empty if there is no candidate.
    """
    count = _count(current)
    words = _trained(words)
    singles = [Candidate(word, _filled(tables, count)) for word, tables in words.items()]

    def pairs(best: Sequence[Candidate]) -> list[Candidate]:
        return _pairs([candidate for candidate in best if candidate.label], words, count)

    return _ranked([*_as_it_is(current), *singles], pairs, evaluate, stopped)


def choose_completion(
    current: VectorTables,
    text: tuple[str, VectorTables],
    words: Mapping[str, VectorTables],
    evaluate: Evaluate,
    *,
    any_count: bool = False,
    stopped: Stopped = lambda: False,
) -> list[Candidate]:
    """Rank words that an init text may be completed with, by their evaluation loss.

    The text keeps its vectors. A word becomes the vector after them, in place of copies of the text's tokens; with a single
    vector, it is added to the text's first token.

    Args:
        current: The vectors of the embedding as it is, [n, d] per text encoder; a candidate too.
        text: The init text, and its token embeddings [m, d] per text encoder.
        words: Token embeddings [k, d] per text encoder of each word or phrase; only the first one is used.
        evaluate: As for `choose_start_words`; called with m or m + 1 vectors too if `any_count`.
        any_count: Whether the number of vectors may change: then the text alone, with a word after it and, if it is a single
            token, with a word added to it are candidates.
        stopped: As for `choose_start_words`.

    Returns:
        As `choose_start_words`.
    """
    count, (said, tokens) = _count(current), text
    length = _count(tokens)
    words = {word: tables for word, tables in _trained({said: tokens, **words}).items() if word != said}
    is_single = length == 1 if any_count else count == 1

    def joined(word: str) -> Candidate:
        both = {key: torch.cat([tokens[key], table[:1]]) for key, table in words[word].items()}
        return Candidate(f"{said}, {word}", both if any_count else _filled(both, count), words=(word,))

    def summed(word: str) -> Candidate:
        both = {key: _sum(tokens[key][:1], table[:1]) for key, table in words[word].items()}
        return Candidate(f"{said} + {word}", both, words=(word,))

    def other_forms(best: Sequence[Candidate]) -> list[Candidate]:
        alone = [Candidate(said, tokens)] if any_count and length != count else []
        return [*alone, *(summed(word) for candidate in best for word in candidate.words if is_single and any_count)]

    if any_count or count > length:
        completed = [joined(word) for word in words]
    else:
        completed = [summed(word) for word in words] if is_single else []
    return _ranked([*_as_it_is(current), *completed], other_forms, evaluate, stopped)


def _ranked(
    left: list[Candidate],
    other_forms: Callable[[Sequence[Candidate]], list[Candidate]],
    evaluate: Evaluate,
    stopped: Stopped,
) -> list[Candidate]:
    """Rank candidates by successive halving, then with other forms of the best ones.

    The embedding as it is takes part in every round, so that it is compared with the best on the same items.
    """
    ranked: list[Candidate] = []
    for number in range(len(ROUNDS)):
        if number and stopped():
            return sorted(left, key=_loss) + ranked
        for candidate in left:
            candidate.losses += evaluate(candidate.vectors, number)
        left.sort(key=_loss)
        if number < len(ROUNDS) - 1:
            words = [candidate for candidate in left if candidate.label]
            kept = _kept(len(words))
            ranked = words[kept:] + ranked
            left = words[:kept] + [candidate for candidate in left if not candidate.label]
    for candidate in () if stopped() else other_forms(left):
        for number in range(len(ROUNDS)):
            candidate.losses += evaluate(candidate.vectors, number)
        left.append(candidate)
    return sorted(left, key=_loss) + ranked


def most_items(words: int) -> int:
    """Return the largest number of items that `choose_completion` evaluates for a number of words."""
    items = 0
    for number, added in enumerate(ROUNDS):
        items += (words + 1) * added  # and the embedding as it is
        words = words if number == len(ROUNDS) - 1 else _kept(words)
    return items + (words + 1) * sum(ROUNDS)  # a sum for each word, and the text alone


def _kept(words: int) -> int:
    """Return how many of a number of words take part in the next round."""
    return min(words, max(LEAST_KEPT, -(-words // KEPT_PART)))


def _as_it_is(current: VectorTables) -> list[Candidate]:
    """Return the embedding as it is as a candidate, unless all of its vectors are zeros."""
    return [Candidate("", current)] if any(bool(table.any()) for table in current.values()) else []


def _count(tables: VectorTables) -> int:
    return len(next(iter(tables.values())))


def _filled(tables: VectorTables, count: int) -> VectorTables:
    return {key: fill(table, count) for key, table in tables.items()}


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
            joined = _filled({key: torch.cat([one[key], other[key]]) for key in one}, count)
            pairs.append(Candidate(f"{first.label}, {second.label}", joined))
        summed = _filled({key: _sum(one[key][:1], other[key][:1]) for key in one}, count)
        pairs.append(Candidate(f"{first.label} + {second.label}", summed))
    return pairs


def _sum(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Return the sum of two vectors, [1, d], with the mean of their norms."""
    total = one + other
    norm = (one.norm(dim=1, keepdim=True) + other.norm(dim=1, keepdim=True)) / 2
    return total * norm / total.norm(dim=1, keepdim=True).clamp(min=1e-12)
