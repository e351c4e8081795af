"""The benchmark of the Library panel: a small one runs, and its table says what was measured."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("gradio")

from benchmarks import library_scroll
from benchmarks.library_scroll import Result

RESULT = Result(
    cards=3000, made_ms=200.4, opened_ms=900, cards_bytes=1_266_000, page_bytes=2_975_000, images_bytes=11_700_000,
    poll_bytes=1500, scrolled=36_000, frames=[16.7] * 98 + [34.0, 50.0], image_ms=300, keys=[5.0, 9.0, 7.0],
    script=[1.0, 3.0, 2.0],
)  # fmt: skip


def test_the_table() -> None:
    table = library_scroll.table(RESULT)
    assert "| HTML of the cards, of the whole page | 1,266 kB, 2,975 kB |" in table
    assert "| frames: median, 95 %, longest | 16.7, 16.7, 50.0 ms |" in table
    assert "| frames longer than 1/30 s | 1 of 100 |" in table
    assert "| search keystroke to the next frame: median, longest | 7.0, 9.0 ms |" in table
    assert replace(RESULT, frames=[16.7]).late == 0


@pytest.mark.browser
@pytest.mark.slow
def test_a_small_library_is_measured(tmp_path: Path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api")
    try:
        # In a thread of its own: the browser of other tests in this process keeps an event loop running in the main one.
        with ThreadPoolExecutor(1) as thread:
            result = thread.submit(library_scroll.measure, tmp_path, 250, seconds=1.0, speed=2000.0, polled=2.0).result()
    except sync_api.Error as error:
        if os.environ.get("TRAIN_EMBEDDING_REQUIRE_BROWSER") == "1":
            raise
        pytest.skip(f"Chromium does not start: {str(error).splitlines()[0]}")
    assert result.cards == 250
    assert result.scrolled > 500
    assert len(result.frames) > 5
    assert len(result.keys) == len(library_scroll.SEARCHES)
    assert result.cards_bytes < result.page_bytes
    assert result.poll_bytes < 20_000, "the cards were sent again"
