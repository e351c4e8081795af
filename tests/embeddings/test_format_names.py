"""The formats by name and by suffix."""

from __future__ import annotations

import pytest

from train_embedding.embeddings.format_names import format_for, suffixes_of
from train_embedding.errors import InvalidInput


@pytest.mark.parametrize(
    ("suffix", "name"), [(".pt", "webui"), (".SAFETENSORS", "safetensors"), (".png", "png"), (".webp", "image")]
)
def test_a_suffix_has_its_usual_format(suffix: str, name: str) -> None:
    assert format_for(suffix) == name


def test_unknown_suffixes_and_formats() -> None:
    with pytest.raises(InvalidInput, match=r'"\.avif"'):
        format_for(".avif")
    with pytest.raises(InvalidInput, match='"gguf"'):
        suffixes_of("gguf")
