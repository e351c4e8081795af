"""The table of programs and features in the READMEs: up to date with the reports in docs/hosts, and complete."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from tests.webui.report import add_results
from tools import hosts_table

TESTS = Path(__file__).parents[1]
FACTS: dict[str, Any] = {
    "program": "Forge Neo 2.26", "commit": "5692d2d1", "versions": {"python": "3.11.7", "torch": "2.13.0", "gradio": "4.40.0"},
    "device": "cpu", "checkpoint": "small", "family": "SD1",
}  # fmt: skip
CREATE = "tests/webui/test_create.py::test_"


@pytest.mark.parametrize("file", hosts_table.readmes(), ids=lambda file: file.name)
def test_the_readmes_have_the_table_of_the_reports(file: Path) -> None:
    page, words = file.read_text("utf-8"), hosts_table.readmes()[file]
    made = hosts_table.table(hosts_table.read_reports(), words)
    assert made in page
    assert hosts_table.fill_in(page, made) == page, "run `make hosts-table`"


def test_every_test_in_a_program_is_in_a_row() -> None:
    for file in sorted((TESTS / "webui").glob("test_*.py")):
        for node in ast.parse(file.read_text("utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_") and file.name != "test_operations.py":
                assert hosts_table.feature_of(f"tests/webui/{file.name}::{node.name}") is not None


def test_a_program_without_a_report_was_not_run(tmp_path: Path) -> None:
    file = tmp_path / "forge-neo.json"
    add_results(file, FACTS, {f"{CREATE}a": {"outcome": "passed"}, f"{CREATE}b": {"outcome": "failed", "reason": "x"}})
    add_results(file, FACTS, {f"{CREATE}b": {"outcome": "passed"}, f"{CREATE}c": {"outcome": "skipped", "reason": "no tower"}})
    rows = {row.split(" | ")[0].strip("| "): row for row in hosts_table.table(hosts_table.read_reports(tmp_path)).splitlines()}
    assert rows["Version"].count("not run with this version") == len(hosts_table.HOSTS) - 1
    assert "| 2.26 (5692d2d1) |" in rows["Version"]
    assert "| 2 passed, 1 skipped |" in rows["Create"]
    assert "| not run |" in rows["Resume"]
    assert "* skipped: no tower (`test_c`)" in hosts_table.details(hosts_table.read_reports(tmp_path))


def test_a_program_without_a_version_is_named_by_its_commit(tmp_path: Path) -> None:
    add_results(tmp_path / "forge-classic.json", {**FACTS, "program": "Forge Classic"}, {f"{CREATE}a": {"outcome": "passed"}})
    reports = hosts_table.read_reports(tmp_path)
    assert "| 5692d2d1 |" in hosts_table.table(reports)
    assert hosts_table.details(reports).startswith("## Forge Classic 5692d2d1")


def test_a_report_of_other_versions_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "forge-neo.json"
    add_results(file, FACTS, {f"{CREATE}a": {"outcome": "passed"}})
    add_results(file, {**FACTS, "checkpoint": "large", "family": "SDXL"}, {f"{CREATE}a": {"outcome": "passed"}})
    (report,) = hosts_table.read_reports(tmp_path).values()
    assert set(report["checkpoints"]) == {"small", "large"}
    add_results(file, {**FACTS, "program": "Forge Neo 2.27"}, {f"{CREATE}b": {"outcome": "passed"}})
    (report,) = hosts_table.read_reports(tmp_path).values()
    assert [list(results["tests"]) for results in report["checkpoints"].values()] == [[f"{CREATE}b"]]
