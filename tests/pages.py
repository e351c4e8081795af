"""States of a page that tests in a browser wait for."""

from __future__ import annotations

from typing import Any


def settle(page: Any) -> None:
    """Let the page draw what it has been told."""
    page.evaluate("() => new Promise(drawn => requestAnimationFrame(() => requestAnimationFrame(drawn)))")


def wait_for_polls(page: Any) -> None:
    """Wait for the script's next two polls: the second comes once the first was answered."""
    page.evaluate(
        """() => {
            window.pollsSeen = 0;
            document.getElementById("te_train_poll").addEventListener("click", () => { window.pollsSeen += 1; });
        }"""
    )
    page.wait_for_function("window.pollsSeen >= 2")
