"""Prompts that change, beside what WebUI 1.10.1's own code made of the same prompts (webui_prompts.json)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from train_embedding.engine.prompts.prompt_editing import at_step, changes, has_loose_brackets
from train_embedding.errors import InvalidInput

CASES = json.loads((Path(__file__).parent / "webui_prompts.json").read_text(encoding="utf-8"))["at_steps"]


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_every_step_as_in_the_webui(case: dict[str, Any]) -> None:
    assert [at_step(case["prompt"], step, 10) for step in range(1, 11)] == case["steps"]
    assert changes(case["prompt"], 10) == (len(set(case["steps"])) > 1)


def test_loose_brackets() -> None:
    assert has_loose_brackets("a [b:c:3]]")
    assert has_loose_brackets("(a [b:c:3]")
    assert not has_loose_brackets("style: (a) [b:c:3]")


def test_many_brackets_take_no_time() -> None:
    with pytest.raises(InvalidInput, match="More than 50 brackets"):
        at_step("[(" * 10_000, 1, 20)
    assert at_step(("[" * 40 + "a:b:3 ") * 400, 1, 20).endswith("a:b:3 ")
    assert at_step("[" * 40 + "a:b:3", 1, 20) == "[" * 40 + "a:b:3"
    assert at_step("[a:b:3]" * 2000, 1, 20) == "a" * 2000
