"""Fixtures that every room may use."""

from __future__ import annotations

from pathlib import Path

import pytest

from train_embedding.testing import FakeHost


@pytest.fixture
def fake_host(tmp_path: Path) -> FakeHost:
    """A host with an SD1 checkpoint and empty folders."""
    return FakeHost(tmp_path)
