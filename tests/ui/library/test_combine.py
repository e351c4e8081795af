"""Rows of names and weights as a formula, which the parser reads back as what was meant."""

from __future__ import annotations

from typing import Any

import pytest

from train_embedding.embeddings.expression.nodes import EmbeddingName, Text, nodes_of
from train_embedding.embeddings.expression.parser import parse
from train_embedding.errors import InvalidInput
from train_embedding.ui.library.combine import AVERAGE, CONCATENATE, INPUTS, SUM, expression_of


def rows(*pairs: tuple[str, Any]) -> tuple[list[str], list[Any]]:
    padded = [*pairs, *[("", 1.0)] * (INPUTS - len(pairs))]
    return [name for name, _ in padded], [weight for _, weight in padded]


@pytest.mark.parametrize(
    ("way", "pairs", "formula"),
    [
        (SUM, [("my-cat", 1.0)], "my-cat"),
        (SUM, [("my-cat", 0.5), (" dog ", 0.25)], "0.5 * my-cat + 0.25 * dog"),
        (SUM, [("a", 1.0), ("b", -1.0)], "a + -1 * b"),
        (SUM, [("king", 1.0), ('"red hat"', 2.0)], 'king + 2 * "red hat"'),
        (AVERAGE, [("a", 1.0), ("b", None)], "average(a, b)"),
        (CONCATENATE, [("a", 1.0), ("two words", 0.5)], "concat(a, 0.5 * 'two words')"),
        (
            SUM,
            [("it's", 1.0), ("c++", 1.0), ("12", 1.0), ("like", 1.0), ("星空", 1.0)],
            "'it\\'s' + c++ + '12' + 'like' + 星空",
        ),
    ],
)
def test_rows_become_a_formula_that_parses(way: str, pairs: list[tuple[str, Any]], formula: str) -> None:
    assert expression_of(way, *rows(*pairs)) == formula
    named = [node for node in nodes_of(parse(formula)) if isinstance(node, EmbeddingName | Text)]
    written = [node.name if isinstance(node, EmbeddingName) else f'"{node.text}"' for node in named]
    assert written == [name.strip() for name, _ in pairs]


def test_no_name_is_said() -> None:
    with pytest.raises(InvalidInput, match="No embedding is given"):
        expression_of(SUM, *rows(("  ", 1.0)))
