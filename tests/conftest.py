"""Fixtures that every room may use."""

from __future__ import annotations

from collections.abc import Sequence
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
    "engine/profiling",
    "engine/runtime/test_half_precision.py",
    "services/store",
    "services/training/test_distributed_runs.py",
    "services/training/test_options.py",
    "test_catalogues.py",
    "test_layout.py",
    "test_translations.py",
)
"Tests that CI runs on the users' stack only: what they test depends little on the releases of packages, or they take long."
FIRST = (
    "browser/test_app.py",
    "browser/test_comparing.py",
    "browser/test_whole_way.py",
    "cli/test_together.py",
    "demo",
    "engine/model/test_families.py",
    "services/training",
)
"Tests that are run first, so that several processes end at about the same time: their files take the longest."


@pytest.hookimpl(tryfirst=True)  # before pytest selects by marker
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of ONE_STACK, and put those of FIRST first."""
    for item in items:
        if _is_in(item, ONE_STACK):
            item.add_marker("one_stack")
    items.sort(key=lambda item: not _is_in(item, FIRST))


def _is_in(item: pytest.Item, places: Sequence[str]) -> bool:
    return any(item.path.is_relative_to(Path(__file__).parent / place) for place in places)


@pytest.fixture
def fake_host(tmp_path: Path) -> FakeHost:
    """A host with an SD1 checkpoint and empty folders."""
    return FakeHost(tmp_path)


@pytest.fixture(scope="module")
def current_services() -> CurrentServices:
    """For what is built once for all tests of a module, each of which has services of its own."""
    return CurrentServices()
