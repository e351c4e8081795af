"""Names that do not work as trigger words in other programs."""

from __future__ import annotations

from typing import Any

import pytest

from train_embedding.embeddings.programs import PROGRAMS, name_in, warning_for
from train_embedding.engine.prompts.tokenizer import in_vocabulary

ASCII_ONLY = "InvokeAI (only ASCII letters, digits, spaces and . , _ - allowed)"


@pytest.mark.parametrize(
    ("name", "programs"),
    [
        ("my-cat", ""),
        ("my cat", "ComfyUI (no spaces allowed)"),
        ("a+b", ASCII_ONLY),
        ("My-cat", "diffusers (no capital letters allowed)"),
        (
            "My 猫",
            f"ComfyUI (no spaces allowed), {ASCII_ONLY}, diffusers (no capital letters allowed)",
        ),
    ],
)
def test_names_that_some_programs_reject(name: str, programs: str) -> None:
    said = f'"{name}" does not work as a trigger word in some programs: {programs}. Exports for these programs are renamed.'
    assert warning_for(name, in_vocabulary) == (said if programs else "")


def test_words_that_some_programs_reject() -> None:
    assert "SD.Next (a token of its vocabulary), diffusers (a token of its vocabulary)" in warning_for("sword", in_vocabulary)
    assert warning_for("art-deco", in_vocabulary) == ""


@pytest.mark.parametrize("name", ["My Cat", "sword", "Café & Bar", "a+b", "ĳs", "x y z", "é", "A", "my-cat_2.5"])
@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_the_name_of_an_export_is_accepted(program: Any, name: str) -> None:
    assert program.accepts(name_in(program, name, in_vocabulary), in_vocabulary)
