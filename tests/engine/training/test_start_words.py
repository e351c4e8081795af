"""The choice of start words: which candidates are compared, on how many items, and what is chosen."""

from __future__ import annotations

import pytest
import torch

from train_embedding.engine.training.start_words import (
    ROUNDS,
    Candidate,
    VectorTables,
    choose_completion,
    choose_start_words,
    most_items,
)

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


def test_the_embedding_as_it_is_is_compared_on_all_items() -> None:
    ranked = choose_start_words(word(9.0, 9.0, 9.0), WORDS, Target((0.0, 1.0, 2.1)))
    assert next(len(candidate.losses) for candidate in ranked if not candidate.label) == ITEMS


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


def test_only_the_best_see_all_items() -> None:
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


TEXT = ("text", word(1.0, 0.0, 2.0))


def test_a_word_takes_the_place_of_a_copy_of_the_text() -> None:
    current = {"clip_l": torch.cat([TEXT[1]["clip_l"]] * 2)}
    target = Target((1.0, 0.0, 2.0), (0.0, 1.0, 2.1))
    best = choose_completion(current, TEXT, WORDS, target)[0]
    assert best.label == "text, b"
    assert torch.equal(best.vectors["clip_l"], torch.cat([TEXT[1]["clip_l"], WORDS["b"]["clip_l"]]))
    assert best.loss == 0.0


def test_a_word_is_added_to_a_single_vector() -> None:
    words = {"up": word(0.0, 2.0), "down": word(0.0, -2.0), "left": word(-2.0, 0.0)}
    best = choose_completion(word(2.0, 0.0), ("right", word(2.0, 0.0)), words, Target((1.4, 1.4)))[0]
    assert best.label == "right + up"
    assert best.vectors["clip_l"].norm() == pytest.approx(2.0)


def test_a_text_that_fills_all_vectors_stays() -> None:
    tokens = {"clip_l": torch.tensor([[1.0, 0.0], [0.0, 1.0]])}
    assert labels(choose_completion(tokens, ("two words", tokens), {"a": word(1.0, 1.0)}, Target((9.0, 9.0), (9.0, 9.0)))) == [""]


class AnyCount:
    """Evaluates vectors by their distance from a target, and gives those of another number a high loss."""

    def __init__(self, *rows: tuple[float, ...]) -> None:
        self.target = torch.tensor(rows)

    def __call__(self, vectors: VectorTables, number: int) -> list[float]:
        same = vectors["clip_l"].shape == self.target.shape
        loss = float((vectors["clip_l"] - self.target).square().mean()) if same else 50 + float(vectors["clip_l"].sum())
        return [loss] * ROUNDS[number]


@pytest.mark.parametrize(
    ("target", "label"),
    [
        (((1.0, 0.0, 2.0),), "text"),
        (((1.0, 0.0, 2.0), (0.0, 1.0, 2.1)), "text, b"),
        (((0.53, 0.53, 2.16),), "text + b"),
    ],
)
def test_the_number_of_vectors_may_change(target: tuple[tuple[float, ...], ...], label: str) -> None:
    current = {"clip_l": torch.cat([TEXT[1]["clip_l"]] * 2)}
    words = {name: WORDS[name] for name in "bc"}
    ranked = choose_completion(current, TEXT, words, AnyCount(*target), any_count=True)
    assert ranked[0].label == label
    assert len(ranked[0].vectors["clip_l"]) == len(target)
    fixed = choose_completion(current, TEXT, words, AnyCount(*target))
    assert {len(candidate.vectors["clip_l"]) for candidate in fixed} == {2}


def test_a_text_of_two_tokens_may_get_a_third_vector() -> None:
    tokens = {"clip_l": torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])}
    ranked = choose_completion(
        tokens, ("two words", tokens), WORDS, AnyCount((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 1.0, 2.1)), any_count=True
    )
    assert ranked[0].label == "two words, b"
    assert not any("+" in label for label in labels(ranked))  # a word is added to a single token only


def test_the_text_itself_is_not_added_to_the_text() -> None:
    current = {"clip_l": torch.cat([TEXT[1]["clip_l"]] * 2)}
    assert "text, text" not in labels(choose_completion(current, TEXT, {**WORDS, "text": TEXT[1]}, Target((1.0, 0.0, 2.0))))


def test_the_most_items_that_a_choice_evaluates() -> None:
    current, count = {"clip_l": torch.cat([TEXT[1]["clip_l"] + 9] * 2)}, 0

    def evaluate(vectors: VectorTables, number: int) -> list[float]:
        nonlocal count
        count += ROUNDS[number]
        return [float(vectors["clip_l"].sum())] * ROUNDS[number]

    choose_completion(current, TEXT, WORDS, evaluate, any_count=True)
    assert count == most_items(len(WORDS))
