"""The choice of start words: which candidates are compared, on how many items, and what is chosen."""

from __future__ import annotations

import pytest
import torch

from train_embedding.engine.training.start_words import ROUNDS, Candidate, VectorTables, choose_start_words

ITEMS = sum(ROUNDS)


def word(*values: float) -> VectorTables:
    return {"clip_l": torch.tensor([values])}


class Target:
    """Evaluates vectors by their distance from a target, and counts the items."""

    def __init__(self, *rows: tuple[float, ...]) -> None:
        self.target = torch.tensor(rows)
        self.items = 0

    def __call__(self, vectors: VectorTables, number: int) -> list[float]:
        self.items += ROUNDS[number]
        return [float((vectors["clip_l"] - self.target).square().mean())] * ROUNDS[number]


def labels(ranked: list[Candidate]) -> list[str]:
    return [candidate.label for candidate in ranked]


WORDS = {name: word(float(index == 0), float(index == 1), 2 + 0.1 * index) for index, name in enumerate("abcdefghijklmnop")}


def test_the_word_with_the_lowest_loss_is_first() -> None:
    ranked = choose_start_words(word(9.0, 9.0, 9.0), WORDS, Target((0.0, 1.0, 2.1)))
    assert ranked[0].label == "b"
    assert torch.equal(ranked[0].vectors["clip_l"], WORDS["b"]["clip_l"])
    assert ranked[0].loss == 0.0


def test_the_embedding_as_it_is_takes_part() -> None:
    ranked = choose_start_words(word(0.0, 1.0, 2.2), WORDS, Target((0.0, 1.0, 2.2)))
    assert ranked[0].label == ""
    assert ranked[0].loss == 0.0


def test_zeros_are_no_start() -> None:
    ranked = choose_start_words(word(0.0, 0.0, 0.0), WORDS, Target((0.0, 0.0, 0.0)))
    assert "" not in labels(ranked)
    assert choose_start_words(word(0.0, 0.0), {}, Target((0.0, 0.0))) == []


def test_two_words_become_two_vectors() -> None:
    current = {"clip_l": torch.zeros(2, 3)}
    ranked = choose_start_words(current, WORDS, Target((1.0, 0.0, 2.0), (0.0, 1.0, 2.1)))
    assert ranked[0].label == "a, b"
    assert torch.equal(ranked[0].vectors["clip_l"], torch.cat([WORDS["a"]["clip_l"], WORDS["b"]["clip_l"]]))


def test_a_sum_keeps_the_norm_of_words() -> None:
    words = {"right": word(2.0, 0.0), "up": word(0.0, 2.0), "left": word(-2.0, 0.0), "down": word(0.0, -2.0)}
    ranked = choose_start_words(word(0.0, 0.0), words, Target((1.4, 1.4)))
    assert ranked[0].label in ("right + up", "up + right")
    assert ranked[0].vectors["clip_l"].norm() == pytest.approx(2.0)
    assert not any("," in label for label in labels(ranked))  # one vector has no room for two words


def test_every_vector_of_a_longer_embedding_is_filled() -> None:
    ranked = choose_start_words({"clip_l": torch.zeros(5, 3)}, WORDS, Target(*[(0.0, 1.0, 2.1)] * 5))
    assert {tuple(candidate.vectors["clip_l"].shape) for candidate in ranked} == {(5, 3)}


def test_the_worse_half_sees_fewer_items() -> None:
    target = Target((0.0, 1.0, 2.1))
    ranked = choose_start_words(word(9.0, 9.0, 9.0), WORDS, target)
    counts = [len(candidate.losses) for candidate in ranked]
    assert counts == sorted(counts, reverse=True)
    assert set(counts) == {ROUNDS[0], ROUNDS[0] + ROUNDS[1], ITEMS}
    assert target.items == sum(counts)
    assert target.items < (len(WORDS) + 1) * ITEMS
    losses = [candidate.loss for candidate in ranked if len(candidate.losses) == ITEMS]
    assert losses == sorted(losses)
    assert set(WORDS) | {""} <= set(labels(ranked))


def test_words_that_the_checkpoint_was_hardly_trained_on_are_not_tried() -> None:
    words = {"known": word(0.0, 1.0), "also known": word(0.5, 0.0), "unknown": word(0.1, 0.1)}
    ranked = choose_start_words(word(1.0, 1.0), words, Target((0.1, 0.1)))
    assert "unknown" not in labels(ranked)
    assert {"known", "also known"} <= set(labels(ranked))


def test_a_loss_that_is_not_finite_comes_last() -> None:
    near = Target((0.0, 1.0, 2.1))

    def evaluate(vectors: VectorTables, number: int) -> list[float]:
        losses = near(vectors, number)
        return [float("nan")] * len(losses) if torch.equal(vectors["clip_l"], WORDS["c"]["clip_l"]) else losses

    ranked = choose_start_words(word(9.0, 9.0, 9.0), WORDS, evaluate)
    assert ranked[0].label == "b"
    assert labels(ranked)[-1] == "c"


def test_stopping_returns_the_ranking_so_far() -> None:
    target = Target((0.0, 1.0, 2.1))
    ranked = choose_start_words(word(9.0, 9.0, 9.0), WORDS, target, stopped=lambda: target.items > 0)
    assert ranked[0].label == "b"
    assert {len(candidate.losses) for candidate in ranked} == {ROUNDS[0]}


def test_without_words_the_embedding_stays() -> None:
    ranked = choose_start_words(word(1.0, 2.0), {}, Target((0.0, 0.0)))
    assert labels(ranked) == [""]
