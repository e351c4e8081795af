"""Fixtures that every room may use."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.current import CurrentServices
from train_embedding.testing import FakeHost


@pytest.fixture
def fake_host(tmp_path: Path) -> FakeHost:
    """A host with an SD1 checkpoint and empty folders."""
    return FakeHost(tmp_path)


@pytest.fixture(scope="module")
def current_services() -> CurrentServices:
    """For what is built once for all tests of a module, each of which has services of its own."""
    return CurrentServices()
