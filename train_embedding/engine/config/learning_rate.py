"""Learning rate schedules in the WebUI's syntax: "0.005:100, 1e-3:1000"."""

from __future__ import annotations

import math
from dataclasses import dataclass

from train_embedding.errors import InvalidSpec
from train_embedding.messages import msg

_HINT = msg('Write one rate ("0.005"), or rates with their last steps ("0.005:100, 1e-3:1000").')


@dataclass(frozen=True)
class RateSchedule:
    """A piecewise constant learning rate.

    Attributes:
        pieces: Each rate with the last step that uses it, in order of steps. The last step of the last piece may be None: the
            rate is then used to the end of the run.
    """

    pieces: tuple[tuple[float, int | None], ...]

    @property
    def end(self) -> int | None:
        """The step at which the schedule and the run end; None if the schedule has no end."""
        return self.pieces[-1][1]

    def at(self, step: int) -> float:
        """Return the rate of a step, counted from 1."""
        for rate, last in self.pieces:
            if last is None or step <= last:
                return rate
        return self.pieces[-1][0]


def parse_schedule(text: str) -> RateSchedule:
    """Parse a schedule in the WebUI's syntax, where a step of -1 means "to the end".

    Raises:
        InvalidSpec: A rate or a step cannot be used; the message quotes it.
    """
    pieces: list[tuple[float, int | None]] = []
    parts = [part.strip() for part in str(text).split(",") if part.strip()]
    if not parts:
        raise InvalidSpec(msg("The learning rate is empty."), _HINT)
    for part in parts:
        if pieces and pieces[-1][1] is None:
            raise InvalidSpec(
                msg('In the learning rate schedule, "{part}" follows a rate without a last step.', part=part), _HINT
            )
        piece = _parse_piece(part)
        previous = pieces[-1][1] if pieces else 0
        if piece[1] is not None and previous is not None and piece[1] <= previous:
            raise InvalidSpec(
                msg('In the learning rate schedule, the step of "{part}" is not larger than the one before.', part=part), _HINT
            )
        pieces.append(piece)
    return RateSchedule(tuple(pieces))


def _parse_piece(part: str) -> tuple[float, int | None]:
    rate_text, colon, step_text = part.partition(":")
    try:
        rate = float(rate_text)
        step = int(step_text) if colon else -1
    except ValueError:
        raise InvalidSpec(msg('"{part}" is not a learning rate.', part=part), _HINT) from None
    if not math.isfinite(rate) or rate <= 0 or rate > 100:
        raise InvalidSpec(msg('The learning rate "{part}" must be above 0 and at most 100.', part=part), _HINT)
    if colon and step != -1 and step < 1:
        raise InvalidSpec(msg('The step in the learning rate "{part}" must be at least 1.', part=part), _HINT)
    return rate, None if step == -1 else step
