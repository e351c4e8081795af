"""A host whose checkpoint knows words, for what needs token embeddings and no pictures."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.words import word_model
from train_embedding.services.library import Library
from train_embedding.testing import FakeHost

SD2, SDXL = {"clip_h": 1024}, {"clip_l": 768, "clip_g": 1280}


@pytest.fixture
def library(fake_host: FakeHost) -> Library:
    return Library(fake_host)


@pytest.fixture
def word_host(tmp_path: Path) -> FakeHost:
    """A host with an SD1 checkpoint that knows words."""
    return FakeHost(tmp_path, model=word_model())


@pytest.fixture
def sdxl_word_host(tmp_path: Path) -> FakeHost:
    return FakeHost(tmp_path, SDXL, word_model(**SDXL))


@pytest.fixture
def uncut_word_host(tmp_path: Path) -> FakeHost:
    """As with OpenCLIP, whose text the WebUI does not cut."""
    return FakeHost(tmp_path, SD2, word_model(cuts=False, **SD2))
