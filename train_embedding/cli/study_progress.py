"""How the command `study` shows the progress of its runs: a table that is redrawn on a terminal, else a line for each change."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING, TextIO, cast

from train_embedding.cli.common import columns, count, cut, table_lines

if TYPE_CHECKING:
    from train_embedding.services.studies import RunProgress

TITLES = ("run", "recipe", "seed", "state", "step", "loss", "time left")
_ORDER = ("running", "failed", "stopped", "waiting", "finished")
"States in the order in which the live table has them; if there is not enough space, the last runs are left out."

_SHORTEST = 15
"Columns of a terminal that the id of a run has at least."

Show = Callable[[list["RunProgress"]], object]


@contextmanager
def shown_progress(finished_before: int) -> Generator[Show, None, None]:
    """Return what shows the progress. What others print within the context, such as Ray, goes to stderr.

    Args:
        finished_before: Number of runs that had finished before the study was continued.
    """
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        with redirect_stdout(sys.stderr):
            yield _Lines()
        return
    table = LiveTable(sys.stderr, finished_before)
    above = cast("TextIO", _Above(table))
    with redirect_stdout(above), redirect_stderr(above):
        try:
            yield table
        finally:
            table.clear()  # the final table is printed to stdout


def row(each: RunProgress) -> tuple[str, ...]:
    """Return the cells of a run in a table with `TITLES`."""
    state = each.state
    steps = f"{state.step}/{state.steps}" if state and state.steps else ""
    loss = f"{state.loss:.4f}" if state and state.loss is not None else ""
    left = _time(state.eta_seconds) if state and each.status == "running" else ""
    return (each.run.id, printable(each.run.recipe), str(each.run.seed), each.status, steps, loss, left)


def printable(text: str) -> str:
    """Replace characters that would control the terminal."""
    return "".join(letter if letter.isprintable() else "�" for letter in text)


class _Lines:
    """Prints a line for each change."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def __call__(self, progress: list[RunProgress]) -> None:
        for each in progress:
            if self._known.get(each.run.id, "waiting") != each.status:
                ended = sum(other.status in ("finished", "failed") for other in progress)
                print(printable(f"{ended}/{len(progress)}  {'  '.join(row(each)).rstrip()}"), file=sys.stderr, flush=True)
            self._known[each.run.id] = each.status


class LiveTable:
    """A table on the terminal that is drawn over the one before.

    Args:
        terminal: The terminal.
        finished_before: As for `shown_progress`.
    """

    def __init__(self, terminal: TextIO, finished_before: int) -> None:
        self.terminal = terminal
        self._before = finished_before
        self._began = time.monotonic()
        self._lines = 0

    def __call__(self, progress: list[RunProgress]) -> None:
        size = shutil.get_terminal_size()
        ordered = sorted(progress, key=lambda each: _ORDER.index(each.status))
        listed = ordered[: max(size.lines - 3, 1)]
        lines = [*_lines(listed, size.columns - 1), self._summary(progress, len(progress) - len(listed))]
        # Each line is overwritten and only what is behind it is erased, so that nothing flickers.
        text = "".join(f"{cut(line, size.columns - 1)}\x1b[K\n" for line in lines)
        self._write(f"{self._up()}{text}\x1b[J")
        self._lines = len(lines)

    def clear(self) -> None:
        """Remove the table from the terminal."""
        self._write(f"{self._up()}\x1b[J")
        self._lines = 0

    def _up(self) -> str:
        return f"\x1b[{self._lines}A" if self._lines else ""

    def _write(self, text: str) -> None:
        self.terminal.write(text)
        self.terminal.flush()

    def _summary(self, progress: list[RunProgress], hidden: int) -> str:
        finished = sum(each.status == "finished" for each in progress)
        failed = sum(each.status == "failed" for each in progress)
        here, left = finished - self._before, len(progress) - finished - failed
        seconds = (time.monotonic() - self._began) / here * left if here else None
        about = f", about {_time(seconds)} left" if seconds else ""
        more = f" ({hidden} not shown)" if hidden else ""
        return f"{finished} of {count(len(progress), 'run')} finished{more}{f', {failed} failed' if failed else ''}{about}"


def _lines(progress: list[RunProgress], width: int) -> list[str]:
    """Return the lines of the table, with shortened ids of runs if it is wider than the terminal."""
    rows = [row(each) for each in progress]
    lines = table_lines(TITLES, rows)
    excess = max(map(columns, lines)) - width
    longest = max(max(columns(each.run.id) for each in progress) - excess, _SHORTEST)
    return lines if excess <= 0 else table_lines(TITLES, [(_shortened(cells[0], longest), *cells[1:]) for cells in rows])


def _shortened(run_id: str, width: int) -> str:
    """Cut the name in an id, and keep the hash."""
    name, _, digest = run_id.rpartition("-")
    return run_id if columns(run_id) <= width else f"{cut(name, width - len(digest) - 2)}…-{digest}"


class _Above:
    """A stream for what others print: it appears in place of the table, which is drawn again below it."""

    def __init__(self, table: LiveTable) -> None:
        self._table = table

    def write(self, text: str) -> int:
        self._table.clear()
        return self._table.terminal.write(text)

    def flush(self) -> None:
        self._table.terminal.flush()

    def isatty(self) -> bool:
        return True

    @property
    def encoding(self) -> str:
        return self._table.terminal.encoding


def _time(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
