"""Many cases in one test, of which every failing one is named."""

from __future__ import annotations

import traceback
from collections.abc import Generator
from contextlib import contextmanager
from types import TracebackType

import pytest


class Failures:
    """Collects the cases that fail, and fails at the end of its block with all of them."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self.cases = 0

    def __enter__(self) -> Failures:
        return self

    def __exit__(self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        if kind is None:
            assert self.cases, "no case was tried"
            if self.found:
                pytest.fail("\n".join([f"{len(self.found)} of {self.cases} cases failed:", *self.found]), pytrace=False)

    @contextmanager
    def of(self, case: object) -> Generator[None, None, None]:
        """Run one case; `case` names it where it fails."""
        self.cases += 1
        try:
            yield
        except (Exception, pytest.fail.Exception) as problem:  # noqa: BLE001 - reported together
            where = traceback.extract_tb(problem.__traceback__)[-1]
            said = "".join(traceback.format_exception_only(problem)).strip()
            self.found.append(f"{case!r:.200}: {said} (line {where.lineno} of {where.name}: {where.line})")
