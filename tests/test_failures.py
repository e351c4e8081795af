"""The helper of tests with many cases: every failing one is named, and none is lost."""

from __future__ import annotations

import pytest

from tests.failures import Failures


def try_each(cases: list[int]) -> None:
    """Fails for odd numbers, and for every number but 0, which alone raises what is expected."""
    with Failures() as failures:
        for number in range(4):
            with failures.of(f"case {number}"):
                cases.append(number)
                assert number % 2 == 0
            with failures.of(f"raising {number}"), pytest.raises(ZeroDivisionError):
                _ = 1 / number


def test_all_cases_are_tried_and_every_failing_one_is_named() -> None:
    tried: list[int] = []
    with pytest.raises(pytest.fail.Exception) as caught:
        try_each(tried)
    assert tried == [0, 1, 2, 3]
    lines = str(caught.value).splitlines()
    assert lines[0] == "5 of 8 cases failed:"
    assert [line.split(":")[0] for line in lines[1:] if line.startswith("'")] == [
        "'case 1'", "'raising 1'", "'raising 2'", "'case 3'", "'raising 3'",
    ]  # fmt: skip


def test_what_passes_is_silent_and_no_case_at_all_is_not() -> None:
    with Failures() as failures, failures.of("fine"):
        pass
    with pytest.raises(AssertionError, match="no case was tried"), Failures():
        pass
