"""The Chromium that tests use."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROGRAMS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
"The first has no windows. Chromium itself, run without one, now and then stops drawing a page (seen with 156)."
QUIET = ("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic", "--no-first-run")


def chromium() -> str | None:
    """Return the path of the machine's Chromium; empty for the one that Playwright brought itself; None where there is none."""
    named = os.environ.get("CHROMIUM")
    found = named or next(filter(None, map(shutil.which, PROGRAMS)), None)
    if found is None and any(any(folder.glob("chromium*")) for folder in _playwright_folders()):
        return ""
    return found


def launched(browser_type: Any, *arguments: str) -> Any:
    """Start Chromium by Playwright's `chromium`. It has no sandbox if the user is root."""
    sandbox = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    return browser_type.launch(executable_path=chromium() or None, args=[*QUIET, *sandbox, *arguments])


@contextmanager
def started_chromium() -> Iterator[Any]:
    """Start Playwright and a Chromium, and end both."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = launched(playwright.chromium)
        yield browser
        browser.close()


def _playwright_folders() -> Iterator[Path]:
    if folder := os.environ.get("PLAYWRIGHT_BROWSERS_PATH"):
        yield Path(folder)
    elif sys.platform == "win32":
        yield Path.home() / "AppData/Local/ms-playwright"
    elif sys.platform == "darwin":
        yield Path.home() / "Library/Caches/ms-playwright"
    else:
        yield Path.home() / ".cache/ms-playwright"
