"""The prompt syntax, beside what WebUI 1.10.1's own code made of the same prompts (webui_prompts.json)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from train_embedding.engine.prompts.attention_syntax import (
    extract_networks,
    parse_attention,
    remove_comments,
    split_at_and,
    split_at_commas,
)
from train_embedding.errors import InvalidInput

JOINED = json.loads((Path(__file__).parent / "webui_prompts.json").read_text(encoding="utf-8"))["joined"]


@pytest.mark.parametrize("case", JOINED, ids=range(len(JOINED)))
def test_and_joins_prompts(case: dict[str, Any]) -> None:
    assert [[text, weight] for text, weight in split_at_and(case["prompt"])] == case["parts"]


def test_brackets_weigh() -> None:
    assert parse_attention("an (important) word") == [("an ", 1.0), ("important", 1.1), (" word", 1.0)]
    assert parse_attention("(a:0.5)[b]") == [("a", 0.5), ("b", 1 / 1.1)]
    assert parse_attention("((a:1.5) b") == [("a", 1.5 * 1.1), (" b", 1.1)]
    assert parse_attention(r"\(a\]") == [("(a]", 1.0)]
    assert parse_attention("") == [("", 1.0)]


def test_pieces_of_one_weight_are_one() -> None:
    assert parse_attention("(my-)(cat)") == [("my-cat", 1.1)]


def test_a_weight_that_is_no_number() -> None:
    with pytest.raises(InvalidInput, match=r'"1\.2\.3" is not a number'):
        parse_attention("(a:1.2.3)")


@pytest.mark.parametrize(
    ("prompt", "parts"),
    [
        ("a, b ,c", ["a", " b ", "c"]),
        ("(a, b:1.2), c", ["(a, b:1.2)", " c"]),
        ("[a, (b, c), d], e", ["[a, (b, c), d]", " e"]),
        (r"a \(b, c\), d", [r"a \(b", r" c\)", " d"]),
        (":(, a, (b, c)", [":(", " a", " (b, c)"]),
        ("a), b, [c, d), e", ["a)", " b", " [c", " d)", " e"]),
        ("", [""]),
        ("\\", ["\\"]),
    ],
)
def test_commas_in_brackets_do_not_split(prompt: str, parts: list[str]) -> None:
    assert split_at_commas(prompt) == parts
    assert ",".join(parts) == prompt


def test_networks_and_comments_are_no_text() -> None:
    assert extract_networks("a <lora:x:0.8> b <hypernet:y:1>") == ("a  b ", ("<lora:x:0.8>", "<hypernet:y:1>"))
    assert extract_networks("a < b and c:d > e")[1] == ()
    assert remove_comments("# all\na # rest\nb") == "\na \nb"
