"""The listing benchmark on a small collection: the index spares the reading."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import listing
from benchmarks.listing import Times


@pytest.mark.slow
def test_a_small_collection(tmp_path: Path) -> None:
    times = listing.measure(tmp_path, 120, repeats=1)
    assert times.files == 120
    assert min(times.everything, times.fresh, times.warm, times.changed) > 0
    entries = listing.library_of(tmp_path).list()
    assert len({entry.name for entry in entries}) == len(entries) == 120
    assert sum(entry.preview is not None for entry in entries) == 30
    assert sum(bool(entry.notes.description) for entry in entries) == 12
    assert any("has the same vectors" in warning for entry in entries for warning in entry.warnings)
    assert all(entry.loaded for entry in entries)


def test_a_row() -> None:
    assert listing.row(Times(10_000, 8.0, 0.5, 0.25, 0.3)) == "| 10,000 | 8.000 s | 0.500 s | 0.250 s | 0.300 s | 16 | 32 |"
    assert listing.HEAD.splitlines()[0].count("|") == listing.row(Times(1, 1.0, 1.0, 1.0, 1.0)).count("|")
