"""What the options of a training run may hold."""

from __future__ import annotations

from train_embedding.engine.config.learning_rate import parse_schedule
from train_embedding.engine.config.options import Option
from train_embedding.engine.prompts.wildcards import check_alternatives
from train_embedding.errors import InvalidOption, InvalidSpec

MAX_CANDIDATES = 32


def check_option(option: Option, value: object) -> None:
    """Check a value against an option's type, choices and bounds.

    Raises:
        InvalidOption: The value is not allowed; the message says what is.
    """
    if not _is_allowed(option, value):
        shown = f'"{value}"' if isinstance(value, str) else repr(value)
        raise InvalidOption(option.name, f"is {shown}; it must be {requirement(option)}.")


def requirement(option: Option) -> str:
    """Describe what an option may hold, as in "a whole number from 1 to 256"."""
    if option.kind == "choice":
        return f"one of {', '.join(option.choices)}"
    if option.kind in ("integer", "number"):
        text = f"a {'whole ' if option.kind == 'integer' else ''}number{_bounds(option)}"
        return f"{text} and a multiple of {option.multiple_of}" if option.multiple_of > 1 else text
    return {"text": "text", "lines": "text or a list of lines", "flag": "true or false"}[option.kind]


def check_candidates(text: str) -> None:
    """Check the option `candidates`: words or phrases, separated by commas.

    Raises:
        InvalidSpec: There are too many.
    """
    if len(text.split(",")) > MAX_CANDIDATES:
        raise InvalidSpec(f"There are more than {MAX_CANDIDATES} candidate words.", "Leave the less likely ones out.")


def check_learning_rate(text: str) -> None:
    """Check the option `learning_rate`: a number, or a schedule.

    Raises:
        InvalidSpec: It does not parse, or a rate is out of range.
    """
    parse_schedule(text)


def check_template(template: tuple[str, ...]) -> None:
    """Check the option `template`: every line contains a placeholder, and braces are balanced.

    Raises:
        InvalidSpec: A line cannot be used.
    """
    if not template or any("[name]" not in line and "[filewords]" not in line for line in template):
        raise InvalidSpec("Each line of the caption template must contain [name] or [filewords].")
    for line in template:
        try:
            check_alternatives(line)
        except ValueError as error:
            raise InvalidSpec(f'The caption line "{line}" cannot be used. {error}') from error


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
    low = float("-inf") if option.low is None else option.low
    high = float("inf") if option.high is None else option.high
    return low <= value <= high and (option.multiple_of == 1 or value % option.multiple_of == 0)


def _bounds(option: Option) -> str:
    return "".join(f" {word} {_plain(bound)}" for word, bound in (("from", option.low), ("to", option.high)) if bound is not None)


def _plain(number: float) -> str:
    return f"{int(number):,}" if number == int(number) else f"{number:g}"
