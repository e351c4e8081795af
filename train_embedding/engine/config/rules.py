"""Rules for the values of the options of a training run."""

from __future__ import annotations

from train_embedding.engine.config.learning_rate import parse_schedule
from train_embedding.engine.config.options import Kind, Option
from train_embedding.engine.prompts.wildcards import check_alternatives
from train_embedding.errors import InvalidInput, InvalidOption, InvalidSpec
from train_embedding.messages import Message, joined, msg

MAX_CANDIDATES = 32
_REQUIREMENTS: dict[Kind, Message] = {
    "text": msg("text"),
    "lines": msg("text or a list of lines"),
    "flag": msg("true or false"),
}


def check_option(option: Option, value: object) -> None:
    """Check a value against an option's type, choices and bounds.

    Raises:
        InvalidOption: The value is not allowed.
    """
    if not _is_allowed(option, value):
        shown = f'"{value}"' if isinstance(value, str) else repr(value)
        raise InvalidOption(
            option.name, msg("is {value}; it must be {requirement}.", value=shown, requirement=requirement(option))
        )


def requirement(option: Option) -> Message:
    """Describe the values that an option may have, as in "a whole number from 1 to 256"."""
    if option.kind == "choice":
        return msg("one of {choices}", choices=joined(option.choices))
    if option.kind in ("integer", "number"):
        return _number_requirement(option)
    return _REQUIREMENTS[option.kind]


def check_candidates(text: str) -> None:
    """Check the option `candidates`: words or phrases, separated by commas.

    Raises:
        InvalidSpec: There are too many.
    """
    if len(text.split(",")) > MAX_CANDIDATES:
        raise InvalidSpec(
            msg("There are more than {most} candidate words.", most=MAX_CANDIDATES), msg("Leave out the less likely ones.")
        )


def check_learning_rate(text: str) -> None:
    """Check the option `learning_rate`: a number, or a schedule.

    Raises:
        InvalidSpec: A rate or a step cannot be used.
    """
    parse_schedule(text)


def check_template(template: tuple[str, ...]) -> None:
    """Check the option `template`: every line contains a placeholder, and braces are balanced.

    Raises:
        InvalidSpec: A line cannot be used.
    """
    if not template or any("[name]" not in line and "[filewords]" not in line for line in template):
        raise InvalidSpec(msg("Each line of the caption template must contain [name] or [filewords]."))
    for line in template:
        try:
            check_alternatives(line)
        except InvalidInput as error:
            raise InvalidSpec(
                msg('The caption line "{line}" cannot be used: {problem}', line=line, problem=error.message), error.hint
            ) from error


def _is_allowed(option: Option, value: object) -> bool:
    if option.kind == "flag":
        return isinstance(value, bool)
    if option.kind == "text":
        return isinstance(value, str)
    if option.kind == "choice":
        return isinstance(value, str) and value in option.choices
    if option.kind == "lines":
        return isinstance(value, tuple) and all(isinstance(line, str) for line in value)  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, bool) or not isinstance(value, int if option.kind == "integer" else (int, float)):
        return False
    low, high = _bounds(option)
    return low <= value <= high and (option.multiple_of == 1 or value % option.multiple_of == 0)


def _number_requirement(option: Option) -> Message:
    low, high = map(_plain, _bounds(option))
    if option.kind == "number":
        return msg("a number from {low} to {high}", low=low, high=high)
    if option.multiple_of > 1:
        return msg("a multiple of {divisor} from {low} to {high}", divisor=option.multiple_of, low=low, high=high)
    return msg("a whole number from {low} to {high}", low=low, high=high)


def _bounds(option: Option) -> tuple[float, float]:
    low, high = option.low, option.high
    assert low is not None, option.name
    assert high is not None, option.name
    return low, high


def _plain(number: float) -> str:
    return f"{int(number):,}" if number == int(number) else f"{number:g}"
