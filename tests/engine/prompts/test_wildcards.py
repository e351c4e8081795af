"""Alternatives in captions: which are drawn, how they are escaped, and what is said of mistakes."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from train_embedding.engine.prompts.wildcards import check_alternatives, draw_alternatives, escape_alternatives
from train_embedding.errors import InvalidInput


def drawn(text: str, times: int = 200) -> set[str]:
    rng = random.Random(1)
    return {draw_alternatives(text, rng) for _ in range(times)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a star", {"a star"}),
        ("a {red|blue} star", {"a red star", "a blue star"}),
        ("{a|b}{c|d}", {"ac", "ad", "bc", "bd"}),
        ("{|big }star", {"star", "big star"}),
        ("{a {big|small} star|a circle}", {"a big star", "a small star", "a circle"}),
        ("{one}", {"one"}),
        ("{{one}}", {"one"}),
        ("{}", {""}),
        ("this|that", {"this|that"}),
        (r"\{a\|b\} {c\|d|e}", {"{a|b} c|d", "{a|b} e"}),
        (r"C:\pictures \(art\) \\{a|b}", {r"C:\pictures \(art\) \a", r"C:\pictures \(art\) \b"}),
        ("ends in \\", {"ends in \\"}),
        ("{[name]|a thing}, [filewords]", {"[name], [filewords]", "a thing, [filewords]"}),
        ("", {""}),
    ],
)
def test_what_can_be_drawn(text: str, expected: set[str]) -> None:
    assert drawn(text) == expected


def test_every_alternative_is_as_likely() -> None:
    rng = random.Random(2)
    counts = Counter(draw_alternatives("{a|b|c}", rng) for _ in range(3000))
    assert sorted(counts) == ["a", "b", "c"]
    assert all(900 < count < 1100 for count in counts.values())


def test_nothing_is_drawn_where_no_group_is() -> None:
    rng = random.Random(3)
    state = rng.getstate()
    draw_alternatives(r"a {plain} star | \{x\|y\}", rng)
    assert rng.getstate() == state


@pytest.mark.parametrize("text", ["a {red|blue star", "{", "{a|{b|c}"])
def test_a_group_that_is_not_closed(text: str) -> None:
    with pytest.raises(InvalidInput, match=r'^A "\{" has no matching "\}"\. For a literal brace, write \\\{ or \\\}\.$'):
        check_alternatives(text)


@pytest.mark.parametrize("text", ["a red|blue} star", "}", "{a|b}}", "}{"])
def test_a_group_that_was_not_opened(text: str) -> None:
    with pytest.raises(InvalidInput, match=r'^A "\}" has no matching "\{"\. For a literal brace, write \\\{ or \\\}\.$'):
        check_alternatives(text)


def test_deep_and_long_texts_end() -> None:
    deep = "{" * 30_000 + "x|y" + "}" * 30_000
    assert drawn(deep, 1) <= {"x", "y"}
    assert len(draw_alternatives("{a|b}" * 10_000, random.Random(0))) == 10_000


@pytest.mark.parametrize("text", ["{3F2504E0-4F89}", "a|b", "\\{", "\\", "{{|}}\\\\", "plain"])
def test_what_is_escaped_comes_back(text: str) -> None:
    assert drawn(escape_alternatives(text), 3) == {text}
