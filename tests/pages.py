"""What tests do with a page in a browser: load our scripts into it, and wait for its states."""

from __future__ import annotations

from pathlib import Path
from typing import Any

SCRIPTS = Path(__file__).parents[1] / "javascript"


def add_scripts(page: Any, *names: str) -> None:
    """Load scripts of ours, and before them what all of them use."""
    for name in ("train_embedding_fields.js", *names):
        page.add_script_tag(path=str(SCRIPTS / name))


def settle(page: Any) -> None:
    """Let the page draw what it has been told, for two seconds at most: Chromium now and then stops drawing a page."""
    frame = "new Promise((drawn) => { requestAnimationFrame(drawn); setTimeout(drawn, 1000); })"
    page.evaluate(f"async () => {{ await {frame}; await {frame}; }}")


def wait_for_polls(page: Any) -> None:
    """Wait for the script's next two polls: the second comes once the first was answered."""
    page.evaluate(
        """() => {
            window.pollsSeen = 0;
            document.getElementById("te_train_poll").addEventListener("click", () => { window.pollsSeen += 1; });
        }"""
    )
    page.wait_for_function("window.pollsSeen >= 2")
