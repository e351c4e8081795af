"""Reports of tests in running programs: with WEBUI_REPORT=FILE, pytest writes which tests passed, failed and were skipped.

The file is JSON and is kept in docs/hosts, from which `make hosts-table` makes the table of the README. Tests that are run again
replace their older results. The program needs the extension of tests/webui, which tells its versions and its checkpoint.
"""

from __future__ import annotations

import datetime
import json
import os
import urllib.request
from pathlib import Path
from typing import Any

import pytest

COMMIT = "WEBUI_COMMIT"
"The environment variable with the commit of the program, which not every program knows."


class HostReport:
    """A pytest plugin that adds the results of a session to a report."""

    def __init__(self, file: Path, url: str) -> None:
        self._file = file
        self._url = url
        self._results: dict[str, dict[str, str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the result of a test that ran in the program."""
        if not (report.nodeid.startswith("tests/webui/") or self._url in report.nodeid):
            return
        name = report.nodeid.replace(f"{self._url}-", "")
        if report.failed:
            self._results[name] = {"outcome": "failed", "reason": _error(report.longreprtext)}
        elif report.skipped:
            self._results[name] = {"outcome": "skipped", "reason": _last_line(report.longreprtext)}
        elif report.when == "call":
            self._results[name] = {"outcome": "passed"}

    def pytest_sessionfinish(self) -> None:
        """Write the report, unless no test ran."""
        if self._results:
            add_results(self._file, _facts(self._url), self._results)


def add_results(file: Path, facts: dict[str, Any], results: dict[str, dict[str, str]]) -> None:
    """Add results to a report; a report of another version of the program or of its packages is replaced.

    Args:
        file: The report.
        facts: What the program tells of itself: program, commit, versions, device, checkpoint and family.
        results: Outcome and, unless the test passed, reason, by test.
    """
    same = ("program", "commit", "versions", "device")
    report: dict[str, Any] = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    if any(report.get(key) != facts[key] for key in same):
        report = {key: facts[key] for key in same} | {"checkpoints": {}}
    checkpoint = report["checkpoints"].setdefault(facts["checkpoint"], {"family": facts["family"], "tests": {}})
    checkpoint["date"] = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    checkpoint["tests"] = dict(sorted({**checkpoint["tests"], **results}.items()))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", "utf-8")


def _facts(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{url}/te-test/facts", timeout=60) as response:
        return {**json.load(response), "commit": os.environ.get(COMMIT, "")}


def _error(text: str) -> str:
    """Return the first line of the error that pytest prints."""
    return next((line[2:].strip() for line in text.splitlines() if line.startswith("E ")), _last_line(text))


def _last_line(text: str) -> str:
    """Return the last line of what pytest prints, of a skipped test only the reason."""
    line = next((line for line in reversed(text.splitlines()) if line.strip()), "")
    return line.partition("Skipped: ")[2].rstrip("')\"") or line
