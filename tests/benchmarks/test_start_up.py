"""The start-up benchmark: a start is measured, and what it loads stays few."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("gradio")

from benchmarks import start_up


@pytest.mark.slow
def test_a_start() -> None:
    version, modules, spans = start_up.measured(Path(sys.executable), 1)
    assert version
    assert 50 < modules < 240, "nothing heavy is loaded before the tab is used"
    assert len(spans) == len(start_up.STEPS)
    assert all(span > 0 for span in spans)


def test_a_row() -> None:
    assert (
        start_up.row("3.41.2", 116, [0.001, 0.1, 0.05, 0.02])
        == "| 3.41.2 | 116 | 0.001 s | 0.100 s | 0.050 s | 0.020 s | 0.171 s |"
    )
