"""Which tests can run here: browser tests need Chromium, tests/webui needs the address of a running WebUI."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# Before torch is imported, and for the processes that tests start. Tiny networks gain nothing from more threads, and threads of
# OpenMP that wait for each other on a machine with other work can take a hundred times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")

TESTS = Path(__file__).parent / "tests"
PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
NO_CHROMIUM = "no Chromium found: install one, name it in CHROMIUM, or run `playwright install chromium`"
NO_WEBUI = "no WebUI to test against: give its address in WEBUI_URL and its folder in WEBUI_DIR"
QUIET = ("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic", "--no-first-run")


def chromium() -> str | None:
    """Path of the machine's Chromium; empty for the one that Playwright brought itself; None where there is none."""
    named = os.environ.get("CHROMIUM")
    found = named or next(filter(None, map(shutil.which, PROGRAMS)), None)
    if found is None and any(any(folder.glob("chromium*")) for folder in _playwright_folders()):
        return ""
    return found


def _playwright_folders() -> Iterator[Path]:
    if folder := os.environ.get("PLAYWRIGHT_BROWSERS_PATH"):
        yield Path(folder)
    elif sys.platform == "win32":
        yield Path.home() / "AppData/Local/ms-playwright"
    elif sys.platform == "darwin":
        yield Path.home() / "Library/Caches/ms-playwright"
    else:
        yield Path.home() / ".cache/ms-playwright"


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    """How pytest-playwright starts the browser: the machine's own Chromium, which as root has no sandbox."""
    options = [*QUIET, *(["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else [])]
    path = chromium()
    return {**browser_type_launch_args, "args": options, **({"executable_path": path} if path else {})}


def pytest_configure(config: pytest.Config) -> None:
    if (file := os.environ.get("WEBUI_REPORT")) and (url := os.environ.get("WEBUI_URL")):
        from tests.webui.report import HostReport

        config.pluginmanager.register(HostReport(Path(file).absolute(), url.rstrip("/")))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for name in ("browser", "webui"):
            if item.path.is_relative_to(TESTS / name):
                item.add_marker(name)
    _skip(items, "webui", NO_WEBUI, unless=bool(os.environ.get("WEBUI_URL")))
    _skip(items, "browser", NO_CHROMIUM, unless=chromium() is not None)


def _skip(items: list[pytest.Item], marker: str, reason: str, unless: bool) -> None:
    chosen = [] if unless else [item for item in items if item.get_closest_marker(marker)]
    if chosen and marker == "browser" and os.environ.get("TRAIN_EMBEDDING_REQUIRE_BROWSER") == "1":
        raise pytest.UsageError(f"TRAIN_EMBEDDING_REQUIRE_BROWSER=1, but {reason}")
    for item in chosen:
        item.add_marker(pytest.mark.skip(reason=reason))
