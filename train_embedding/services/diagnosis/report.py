"""What a diagnosis finds: checks, grouped into sections."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Level = Literal["ok", "note", "warning", "error"]
"""An error keeps something from working. A warning may be the reason for a surprise later. A note is neither."""
_MAX_MESSAGE = 300

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Check:
    """One fact, and what is wrong with it."""

    name: str
    value: str = ""
    level: Level = "ok"
    problem: str = ""
    "What is wrong, a sentence; empty for `ok`."
    advice: str = ""
    "What to do, a sentence or a command to run."


@dataclass(frozen=True)
class Section:
    """Checks under a heading."""

    title: str
    checks: tuple[Check, ...]

    @property
    def failed(self) -> bool:
        """Whether one of the checks found an error."""
        return any(check.level == "error" for check in self.checks)


def run_checks(title: str, checks: Callable[[], Iterable[Check]]) -> Section:
    """Collect the checks of a section. Whatever goes wrong in them becomes an error of the section instead of an exception."""
    found: list[Check] = []
    try:
        found.extend(checks())
    except Exception as error:
        logger.debug("The section %s failed:", title, exc_info=True)
        problem = f"The rest of this section could not be checked: {describe(error)}"
        found.append(Check("doctor", "", "error", problem, "Please report this with the whole output."))
    return Section(title, tuple(found))


def describe(error: BaseException | str) -> str:
    """Return an exception, or its text, as one short line."""
    text = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
    line = " ".join(text.split())
    return line if len(line) <= _MAX_MESSAGE else f"{line[:_MAX_MESSAGE]}…"


def shown_path(path: Path) -> str:
    """Return a path for people, with "~" for the home folder, so that reports do not contain the name of the user."""
    try:
        return str(Path("~") / path.relative_to(Path.home()))
    except (ValueError, RuntimeError):  # it is elsewhere, or there is no home
        return str(path)


def shown_size(size: float) -> str:
    """Return a number of bytes for people."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


def quoted(path: Path | str) -> str:
    """Return a path as part of a command."""
    text = str(path)
    return f'"{text}"' if " " in text else text
