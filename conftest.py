"""Which tests can run here: browser tests need Chromium, tests/webui needs the address of a running WebUI."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.chromium import chromium

# Before torch is imported, and for the processes that tests start. Tiny networks gain nothing from more threads, and threads of
# OpenMP that wait for each other on a machine with other work can take a hundred times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")

TESTS = Path(__file__).parent / "tests"
NO_CHROMIUM = "no Chromium found: install one, name it in CHROMIUM, or run `playwright install chromium`"
NO_WEBUI = "no WebUI to test against: give its address in WEBUI_URL and its folder in WEBUI_DIR"


def pytest_configure(config: pytest.Config) -> None:
    if (file := os.environ.get("WEBUI_REPORT")) and (url := os.environ.get("WEBUI_URL")):
        from tests.webui.report import HostReport

        config.pluginmanager.register(HostReport(Path(file).absolute(), url.rstrip("/")))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for name in ("browser", "webui"):
            if item.path.is_relative_to(TESTS / name):
                item.add_marker(name)
        if item.get_closest_marker("webui"):
            item.add_marker(pytest.mark.timeout(0))  # WEBUI_PATIENCE says how long they wait
    _skip(items, "webui", NO_WEBUI, unless=bool(os.environ.get("WEBUI_URL")))
    _skip(items, "browser", NO_CHROMIUM, unless=chromium() is not None)


def _skip(items: list[pytest.Item], marker: str, reason: str, unless: bool) -> None:
    chosen = [] if unless else [item for item in items if item.get_closest_marker(marker)]
    if chosen and marker == "browser" and os.environ.get("TRAIN_EMBEDDING_REQUIRE_BROWSER") == "1":
        raise pytest.UsageError(f"TRAIN_EMBEDDING_REQUIRE_BROWSER=1, but {reason}")
    for item in chosen:
        item.add_marker(pytest.mark.skip(reason=reason))
