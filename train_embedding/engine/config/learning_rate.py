"""Learning-rate schedules in the WebUI's syntax: "0.005:100, 1e-3:1000"."""

from __future__ import annotations

import math
from dataclasses import dataclass

from train_embedding.errors import InvalidSpec

_HINT = 'Write one rate ("0.005") or rates with the step each one lasts to ("0.005:100, 1e-3:1000").'


@dataclass(frozen=True)
class RateSchedule:
    """Piecewise constant rates.

    pieces: (rate, last step that uses it) in rising order of steps; the last piece's step is None where the schedule
    names none, and the rate then lasts to the end of the run.
    """

    pieces: tuple[tuple[float, int | None], ...]

    @property
    def end(self) -> int | None:
        """The step at which the schedule, and with it the run, ends; None where it is open."""
        return self.pieces[-1][1]

    def at(self, step: int) -> float:
        """The rate of a step; steps count from 1."""
        for rate, last in self.pieces:
            if last is None or step <= last:
                return rate
        return self.pieces[-1][0]


def parse_schedule(text: str) -> RateSchedule:
    """Reads the WebUI's syntax. A step of -1 means "to the end", as there.

    Raises InvalidSpec naming the piece that does not parse.
    """
    pieces: list[tuple[float, int | None]] = []
    parts = [part.strip() for part in str(text).split(",") if part.strip()]
    if not parts:
        raise InvalidSpec("The learning rate is empty.", _HINT)
    for part in parts:
        if pieces and pieces[-1][1] is None:
            raise InvalidSpec(f'The learning rate schedule goes on after an open end, at "{part}".', _HINT)
        piece = _parse_piece(part)
        previous = pieces[-1][1] if pieces else 0
        if piece[1] is not None and previous is not None and piece[1] <= previous:
            raise InvalidSpec(f'The steps of the learning rate schedule do not rise at "{part}".', _HINT)
        pieces.append(piece)
    return RateSchedule(tuple(pieces))


def _parse_piece(part: str) -> tuple[float, int | None]:
    rate_text, colon, step_text = part.partition(":")
    try:
        rate = float(rate_text)
        step = int(step_text) if colon else -1
    except ValueError:
        raise InvalidSpec(f'The learning rate "{part}" does not parse.', _HINT) from None
    if not math.isfinite(rate) or rate <= 0 or rate > 100:
        raise InvalidSpec(f'The learning rate "{part}" must be above 0 and at most 100.', _HINT)
    if colon and step != -1 and step < 1:
        raise InvalidSpec(f'The step in the learning rate "{part}" must be at least 1.', _HINT)
    return rate, None if step == -1 else step
