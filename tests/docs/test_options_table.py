"""The tables of options in docs/guide.md are those that the declarations give."""

from __future__ import annotations

from docs.options_table import GUIDE, options_tables, with_tables
from train_embedding.engine.config.spec import OPTIONS


def test_the_guide_lists_the_options_of_today() -> None:
    guide = GUIDE.read_text(encoding="utf-8")
    assert guide == with_tables(guide), "run: python -m docs.options_table"


def test_the_tables_have_a_row_for_every_option() -> None:
    rows = [line for line in options_tables().splitlines() if line.startswith("|")]
    assert [option.name for option in OPTIONS if sum(row.startswith(f"| {option.label} |") for row in rows) != 1] == []
    assert {row.replace("\\|", "").count("|") for row in rows} == {5}
