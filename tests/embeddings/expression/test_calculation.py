"""Formulas computed, against the same computed with tensors; and what cannot be computed."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
import torch

from tests.failures import Failures
from train_embedding.embeddings.expression import calculation
from train_embedding.embeddings.expression.calculation import Calculation
from train_embedding.embeddings.expression.parser import MAX_DEPTH, parse
from train_embedding.embeddings.operations import Tables
from train_embedding.errors import InvalidExpression

WIDTHS = {"clip_l": 3, "clip_g": 5}
COUNTS = {"a": 2, "b": 2, "c": 2, "four": 4, "one": 1, "many": 75}


class Known:
    """Vectors made from the name's letters."""

    def embedding(self, name: str) -> Tables:
        seeded = {key: torch.Generator().manual_seed(sum(name.encode())) for key in WIDTHS}
        return {key: torch.randn(COUNTS[name], width, generator=seeded[key]) for key, width in WIDTHS.items()}

    def token_embeddings(self, text: str) -> Tables:
        return {key: torch.full((len(text.split()) if text != "none" else 0, d), float(len(text))) for key, d in WIDTHS.items()}

    def usual_norms(self) -> dict[str, float]:
        return {"clip_l": 0.4, "clip_g": 0.7}


def compute(text: str) -> Tables:
    return Calculation(text, Known()).result(parse(text))


def assert_same(one: Tables, other: Tables) -> None:
    assert set(one) == set(other)
    for key in one:
        assert torch.equal(one[key], other[key]), key


A, B, FOUR, ONE = (Known().embedding(name) for name in ("a", "b", "four", "one"))


def of(*tables: Tables, by: Callable[..., torch.Tensor]) -> Tables:
    return {key: by(*(table[key] for table in tables)) for key in tables[0]}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", A),
        ("a + b", of(A, B, by=lambda a, b: a + b)),
        ("0.7 * a + 0.3 * b", of(A, B, by=lambda a, b: a * 0.7 + b * 0.3)),
        ("a - b * 2 / 4", of(A, B, by=lambda a, b: a + -1 * (b * 0.5))),
        ("-a", of(A, by=lambda a: -a)),
        ("(1 + 2) * a", of(A, by=lambda a: a * 3)),
        ('a - "red cat"', of(A, by=lambda a: a - 7)),
        ("a & one", of(A, ONE, by=lambda a, one: torch.cat([a, one]))),
        ("concat(a, one, b)", of(A, ONE, B, by=lambda a, one, b: torch.cat([a, one, b]))),
        ("average(a, b)", of(A, B, by=lambda a, b: (a + b) / 2)),
        ("four[1:3]", of(FOUR, by=lambda four: four[1:3])),
        ("four[-1]", of(FOUR, by=lambda four: four[3:])),
        ("four[-3:-1]", of(FOUR, by=lambda four: four[1:3])),
        ("four[:]", FOUR),
        ("(a & b)[1:3]", of(A, B, by=lambda a, b: torch.cat([a, b])[1:3])),
        ("spread(one, 4)", of(ONE, by=lambda one: one.repeat(4, 1))),
        ("four + spread(one, 4)", of(FOUR, ONE, by=lambda four, one: four + one)),
        ("drop_zeros(a & 0 * b)", A),
        ("reduce(a, 2)", A),
        ("norm(a, 2)", of(A, by=lambda a: a * (2 / a.norm(dim=1, keepdim=True)))),
        ("norm(a, like b)", of(A, B, by=lambda a, b: a * (float(b.norm(dim=1).mean()) / a.norm(dim=1, keepdim=True)))),
    ],
)  # fmt: skip
def test_a_formula_is_what_the_tensors_give(text: str, expected: Tables) -> None:
    assert_same(compute(text), expected)


def test_the_usual_norm_is_the_vocabularys() -> None:
    for key, norm in Known().usual_norms().items():
        torch.testing.assert_close(compute("norm(a)")[key].norm(dim=1), torch.full((2,), norm))


def test_shorter_terms_count_as_zeros_and_that_is_said() -> None:
    calculation = Calculation("four + one", Known())
    sums = calculation.result(parse("four + one"))
    assert_same(sums, of(FOUR, ONE, by=lambda four, one: torch.cat([four[:1] + one, four[1:]])))
    assert calculation.notes[0].startswith("A sum has terms with different numbers of vectors (1, 4)")


def random_formula(rng: random.Random, depth: int) -> tuple[str, Callable[[str], torch.Tensor]]:
    """A formula over tables of two vectors, and the same for one text encoder in torch's words."""
    kinds = ("sum", "difference", "times", "over", "negative", "average", "cut", "norm")
    choice = rng.choice(("name", *kinds)) if depth else "name"
    if choice == "name":
        name = rng.choice("abc")
        return name, lambda key: Known().embedding(name)[key]
    one, first = random_formula(rng, depth - 1)
    other, second = random_formula(rng, depth - 1)
    number = round(rng.uniform(0.1, 3), 2)
    formulas: dict[str, tuple[str, Callable[[str], torch.Tensor]]] = {
        "sum": (f"({one} + {other})", lambda key: first(key) + second(key)),
        "difference": (f"({one} - ({other}))", lambda key: first(key) - second(key)),
        "times": (f"{number} * ({one})", lambda key: first(key) * number),
        "over": (f"({one}) / {number}", lambda key: first(key) * (1 / number)),
        "negative": (f"-({one})", lambda key: -first(key)),
        "average": (f"average({one}, {other})", lambda key: (first(key) + second(key)) / 2),
        "cut": (f"({one} & {other})[1:3]", lambda key: torch.cat([first(key), second(key)])[1:3]),
        "norm": (f"norm({one}, {number})", lambda key: torch.nn.functional.normalize(first(key)) * number),
    }
    return formulas[choice]


def test_random_formulas_are_what_the_tensors_give() -> None:
    with Failures() as failures:
        for seed in range(150):
            text, expected = random_formula(random.Random(seed), 4)
            with failures.of((seed, text)):
                computed = compute(text)
                for key in WIDTHS:
                    torch.testing.assert_close(computed[key], expected(key), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        ("2", 1, "2 is a number, but vectors are needed"),
        ("a & 2", 5, "2 is a number, but vectors are needed"),
        ("a + 2", 5, "a number cannot be added to vectors"),
        ("2 - a", 1, "a number cannot be added to vectors"),
        ("a * b", 5, "vectors cannot be multiplied by vectors"),
        ("2 / a", 5, "dividing by vectors"),
        ("a / 0", 5, "division by zero"),
        ("a / (1 - 1)", 6, "division by zero"),
        ("1e300 * 1e300 * a", 1, "infinite or not a number"),
        ("a * 1e39", 1, "infinite or not a number"),
        ('a + "none"', 5, 'the text "none" has no tokens'),
        ("a[2]", 2, "out of range: there are 2 vectors, with indices 0 to 1"),
        ("one[1:]", 4, "out of range: there is 1 vector, with index 0"),
        ("a[1:1]", 2, "empty or out of range"),
        ("a[-3]", 2, "empty or out of range"),
        ("a[0:3]", 2, "empty or out of range"),
        ("reduce(a, 3)", 11, "2 vectors cannot be reduced to 3"),
        ("reduce(a, 0)", 11, "a whole number from 1 to 75, not 0"),
        ("reduce(a, 1.5)", 11, "a whole number"),
        ("spread(a, 76)", 11, "a whole number"),
        ("spread(a, b)", 11, "a number is needed here, not vectors"),
        ("norm(a, -1)", 9, "a norm cannot be negative \\(-1\\)"),
        ("norm(a, b)", 9, "a number is needed here, not vectors"),
        ("b + drop_zeros(0 * a)", 5, "all vectors are zero"),
        ("many & one", 1, "the result has 76 vectors"),
        (" & ".join(["many"] * 14), 1, "this part of the formula has 1050 vectors, which is too many"),
    ],
)
def test_what_cannot_be_computed_has_its_column(text: str, column: int, words: str) -> None:
    with pytest.raises(InvalidExpression, match=words) as caught:
        compute(text)
    assert caught.value.column == column


def test_wide_vectors_are_not_multiplied_beyond_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calculation, "MAX_ELEMENTS", 30)
    assert len(compute("reduce(a & four, 1)")["clip_g"]) == 1
    with pytest.raises(InvalidExpression, match="7 vectors, which is too many"):
        compute("reduce(concat(a, four, one), 1)")


def test_the_deepest_formula_is_computed() -> None:
    deepest = "a"
    for _ in range(MAX_DEPTH // 2):
        deepest = f"-norm(-(a - {deepest})[0:2] * 1, 1)[:] / 2 + a"
    assert len(compute(deepest)["clip_l"]) == 2


def test_a_part_may_be_longer_than_the_result() -> None:
    assert len(compute("reduce(many & many, 10)")["clip_l"]) == 10
