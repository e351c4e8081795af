"""A host whose checkpoint knows words, for what needs token embeddings and no pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import torch

from train_embedding.testing import FakeHost


class WordModel:
    """Token embeddings with one token per word: the vector of a word is its length, then its place in the text.

    cuts: whether it cuts the text to the number of vectors, which the WebUI does for CLIP and not for OpenCLIP.
    """

    def __init__(self, widths: dict[str, int], cuts: bool = True) -> None:
        self.widths = widths
        self.cuts = cuts

    def token_embeddings(self, text: str, count: int | None = None) -> dict[str, torch.Tensor]:
        words = text.split()[: count if self.cuts else None]
        rows = [[float(len(word)), float(place)] for place, word in enumerate(words)]
        return {key: torch.tensor(rows).reshape(-1, 2).repeat(1, width // 2).half() for key, width in self.widths.items()}


def with_words(folder: Path, widths: dict[str, int], cuts: bool = True) -> FakeHost:
    return FakeHost(folder, widths, model=cast(Any, WordModel(widths, cuts)))


@pytest.fixture
def word_host(tmp_path: Path) -> FakeHost:
    """A host with an SD1 checkpoint that knows words."""
    return with_words(tmp_path, {"clip_l": 768})


@pytest.fixture
def sdxl_word_host(tmp_path: Path) -> FakeHost:
    return with_words(tmp_path, {"clip_l": 768, "clip_g": 1280})


@pytest.fixture
def uncut_word_host(tmp_path: Path) -> FakeHost:
    """As with OpenCLIP, whose text the WebUI does not cut."""
    return with_words(tmp_path, {"clip_h": 1024}, cuts=False)
