"""The forms that front ends offer are those that there are."""

from __future__ import annotations

import pytest

from train_embedding.embeddings import formats
from train_embedding.errors import InvalidInput
from train_embedding.services.formats import SUFFIXES, form_for, suffixes_of


def test_the_same_as_the_formats() -> None:
    assert {name: formats.suffixes_of(name) for name in formats.FORMAT_NAMES} == SUFFIXES


@pytest.mark.parametrize(
    ("suffix", "form"), [(".pt", "webui"), (".SAFETENSORS", "safetensors"), (".png", "png"), (".webp", "picture")]
)
def test_a_suffix_has_its_usual_form(suffix: str, form: str) -> None:
    assert form_for(suffix) == form


def test_what_there_is_not() -> None:
    with pytest.raises(InvalidInput, match=r'"\.avif"'):
        form_for(".avif")
    with pytest.raises(InvalidInput, match='"gguf"'):
        suffixes_of("gguf")
