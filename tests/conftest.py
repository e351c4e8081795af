"""Fixtures that every room may use."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.current import CurrentServices
from train_embedding.testing import FakeHost

ONE_STACK = (
    "app/test_killed_queue.py",
    "benchmarks",
    "browser/test_accessibility.py",
    "browser/test_attacks.py",
    "browser/test_hand_on.py",
    "browser/test_javascript.py",
    "browser/test_library_script.py",
    "browser/test_localization_script.py",
    "cli/test_families.py",
    "cli/test_refusals.py",
    "cli/test_streams.py",
    "cli/test_together.py",
    "demo",
    "docs",
    "engine/runtime/test_half_precision.py",
    "services/store",
    "services/training/test_distributed_runs.py",
    "services/training/test_options.py",
    "test_catalogues.py",
    "test_layout.py",
    "test_translations.py",
)
"Tests that CI runs on the users' stack only: what they test depends little on the releases of packages, or they take long."


@pytest.hookimpl(tryfirst=True)  # before pytest selects by marker
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of ONE_STACK."""
    places = [Path(__file__).parent / place for place in ONE_STACK]
    for item in items:
        if any(item.path.is_relative_to(place) for place in places):
            item.add_marker("one_stack")


@pytest.fixture
def fake_host(tmp_path: Path) -> FakeHost:
    """A host with an SD1 checkpoint and empty folders."""
    return FakeHost(tmp_path)


@pytest.fixture(scope="module")
def current_services() -> CurrentServices:
    """For what is built once for all tests of a module, each of which has services of its own."""
    return CurrentServices()
