"""How the commands print."""

from __future__ import annotations

import pytest

from train_embedding.cli.common import print_table


def test_columns_hold_wide_characters_and_marks(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("name", "steps", "file"), [("夏日", "5", "a"), ("cafe\u0301", "120", "b"), ("x", "-", "c")])
    assert capsys.readouterr().out.splitlines() == [
        "name  steps  file",
        "夏日      5  a",
        "cafe\u0301    120  b",
        "x         -  c",
    ]
