"""Prompts that change, beside what WebUI 1.10.1's own code made of the same prompts (webui_prompts.json)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from train_embedding.engine.prompts.prompt_editing import changes_over_steps, has_unmatched_brackets, text_at_step
from train_embedding.errors import InvalidInput

CASES = json.loads((Path(__file__).parent / "webui_prompts.json").read_text(encoding="utf-8"))["at_steps"]


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_every_step_as_in_the_webui(case: dict[str, Any]) -> None:
    assert [text_at_step(case["prompt"], step, 10) for step in range(1, 11)] == case["steps"]
    assert changes_over_steps(case["prompt"], 10) == (len(set(case["steps"])) > 1)


def test_loose_brackets() -> None:
    assert has_unmatched_brackets("a [b:c:3]]")
    assert has_unmatched_brackets("(a [b:c:3]")
    assert not has_unmatched_brackets("style: (a) [b:c:3]")


def test_many_brackets_take_no_time() -> None:
    with pytest.raises(InvalidInput, match="More than 50 brackets"):
        text_at_step("[(" * 10_000, 1, 20)
    assert text_at_step(("[" * 40 + "a:b:3 ") * 400, 1, 20).endswith("a:b:3 ")
    assert text_at_step("[" * 40 + "a:b:3", 1, 20) == "[" * 40 + "a:b:3"
    assert text_at_step("[a:b:3]" * 2000, 1, 20) == "a" * 2000
