"""Names that the prompts of other programs cannot call."""

from __future__ import annotations

from typing import Any

import pytest

from train_embedding.embeddings.programs import PROGRAMS, name_in, warning_for
from train_embedding.engine.prompts.tokenizer import in_vocabulary


@pytest.mark.parametrize(
    ("name", "programs"),
    [
        ("my-cat", ""),
        ("my cat", "ComfyUI (spaces)"),
        ("a+b", "InvokeAI (signs and letters beyond ASCII)"),
        ("My-cat", "diffusers (capital letters)"),
        ("My 猫", "ComfyUI (spaces), InvokeAI (signs and letters beyond ASCII), diffusers (capital letters)"),
    ],
)
def test_names_that_some_programs_cannot_call(name: str, programs: str) -> None:
    said = f'"{name}" needs another name in some programs: {programs}. Exports for them are renamed.' if programs else ""
    assert warning_for(name, in_vocabulary) == said


def test_words_that_some_programs_cannot_call() -> None:
    assert "SD.Next (in its vocabulary already), diffusers (in its vocabulary already)" in warning_for("sword", in_vocabulary)
    assert warning_for("art-deco", in_vocabulary) == ""


@pytest.mark.parametrize("name", ["My Cat", "sword", "Café & Bar", "a+b", "ĳs", "x y z", "é", "A", "my-cat_2.5"])
@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_the_name_of_an_export_can_be_called(program: Any, name: str) -> None:
    assert program.can_call(name_in(program, name, in_vocabulary), in_vocabulary)
