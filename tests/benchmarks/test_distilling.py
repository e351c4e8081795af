"""A long prompt in two vectors: the trigger's images are nearer to the prompt's than what two tokens draw."""

from __future__ import annotations

import json

import pytest
import torch
from PIL import Image

from benchmarks import distilling
from benchmarks.distilling import CASES, FIRST, FIRST_SEED, NEGATIVE, POSITIVE, START, Margin, Result
from train_embedding.engine.prompts.tokenizer import token_ids
from train_embedding.engine.training.distill import LATENTS


@pytest.mark.checkpoint
@pytest.mark.slow
def test_two_vectors_draw_what_a_long_prompt_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distilling, "IMAGES", 16)
    rows: list[tuple[str, list[Image.Image]]] = []
    results = distilling.measure("heart", sheet=rows)
    assert [(one.case, one.role) for one in results] == [("heart", POSITIVE), ("heart", NEGATIVE)]
    for one in results:
        assert one.tokens >= 20
        assert set(one.margins) == {FIRST, START}
        for margin in one.margins.values():
            assert margin.difference > 5 * margin.standard_error > 0
    assert len(rows) == 2 * 4
    assert distilling.contact_sheet(rows).size == (8 * 66, 8 * 78)


@pytest.mark.parametrize("name", CASES)
def test_prompts_are_long_and_starts_are_short(name: str) -> None:
    case = CASES[name]
    assert len(token_ids(case.teacher)) >= 20
    first = distilling.first_tokens(case.teacher, distilling.VECTORS)
    assert token_ids(first) == token_ids(case.teacher)[: distilling.VECTORS]
    assert case.init_text == case.teacher or len(token_ids(case.init_text)) == distilling.VECTORS


def test_no_scene_of_the_training_is_judged() -> None:
    assert FIRST_SEED > 1000 * LATENTS


def test_margins_are_of_the_same_image() -> None:
    """Distances 1, 2 of the trigger, and of the start always one more."""
    teacher = torch.zeros(2, 4, 8, 8)
    near = teacher + torch.tensor([1.0, 2.0])[:, None, None, None]
    latents = {distilling.TEACHER: teacher, distilling.TRIGGER: near, FIRST: near + 1, START: 3 * near}
    judged = distilling._judged(Result("star", POSITIVE, 0, 29, 10, 1.0, 0.0, {}), latents)
    assert judged.distance == 1.5
    assert judged.margins[FIRST] == Margin(2.5, 1.0, 0.0)
    assert judged.margins[START] == Margin(4.5, 3.0, pytest.approx(1.0))
    assert judged.margins[START].errors == pytest.approx(3.0)


def test_results_can_be_printed_and_written() -> None:
    one = Result("star", NEGATIVE, 3, 29, 290, 36.1, 0.25, {FIRST: Margin(1.0, 0.75, 0.05), START: Margin(0.5, 0.25, 0.125)})
    assert distilling.table([one]).splitlines()[-1] == (
        "| star (29) | negative | 3 | 290 | 0.250 | 1.000 | 0.750 ± 0.050 | 15.0 | 0.500 | 0.250 ± 0.125 | 2.0 |"
    )
    assert json.loads(json.dumps(one.to_json()))["margins"][START]["errors"] == 2.0
