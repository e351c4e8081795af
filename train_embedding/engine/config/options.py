"""How an option of a training run is declared: one dataclass field, whose metadata says what it is called and may hold."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, ParamSpec, cast, get_args, get_origin, get_type_hints

Group = Literal["Basics", "What to learn", "Images", "Captions", "Optimization", "Stopping", "Snapshots and previews"]
"Headings under which options are shown, in this order."
Kind = Literal["text", "lines", "integer", "number", "flag", "choice"]
"What an option holds, read from the annotation of its field: str, tuple[str, ...], int, float, bool or a Literal."

_KINDS: dict[Any, Kind] = {str: "text", tuple[str, ...]: "lines", int: "integer", float: "number", bool: "flag"}
_KEY = "option"
_P = ParamSpec("_P")


@dataclass(frozen=True)
class OptionFacts:
    """What a declaration says about an option besides its name, type and default.

    Attributes:
        label: Name on the screen.
        help: One or two sentences for the tab, the command line, the API and the guide.
        group: Heading under which it is shown.
        details: More sentences for the API and the guide, in Markdown.
        low: Smallest number allowed.
        high: Largest number allowed.
        multiple_of: What a whole number must be divisible by.
        unit: What a number counts, in the plural.
        choice_labels: Names on the screen of the words that the option may hold; empty where a word is its own name.
        advanced: Whether the tab shows it only after a click.
        new_row: Whether it begins a row in the tab; otherwise it continues the row of the option before it.
        wide: Whether its widget is wider than its neighbours.
        multiline: Whether a text may have several lines.
        placeholder: An example, for a text.
        changeable_on_resume: Whether a resumed run may change it, because the vectors do not depend on it.
    """

    label: str
    help: str
    group: Group
    details: str = ""
    low: float | None = None
    high: float | None = None
    multiple_of: int = 1
    unit: str = ""
    choice_labels: tuple[str, ...] = ()
    advanced: bool = True
    new_row: bool = False
    wide: bool = False
    multiline: bool = False
    placeholder: str = ""
    changeable_on_resume: bool = False


@dataclass(frozen=True, kw_only=True)
class Option(OptionFacts):
    """An option: its declaration with the name, type and default of the field that carries it.

    Attributes:
        name: Of the field, in the API and, with dashes, on the command line.
        kind: What it holds.
        default: Of the field; None where the field has none.
        choices: The words that it may hold, for the kind "choice".
    """

    name: str
    kind: Kind
    default: Any
    choices: tuple[str, ...] = ()

    @property
    def flag(self) -> str:
        """Its name on the command line."""
        return f"--{self.name.replace('_', '-')}"

    def labelled_choices(self) -> list[tuple[str, str]]:
        """Return the label and the word of each choice."""
        return list(zip(self.choice_labels or self.choices, self.choices, strict=True))


def _as_metadata(make: Callable[_P, OptionFacts]) -> Callable[_P, dict[str, OptionFacts]]:
    def option(*args: _P.args, **kwargs: _P.kwargs) -> dict[str, OptionFacts]:
        return {_KEY: make(*args, **kwargs)}

    return option


option = _as_metadata(OptionFacts)
"Declares an option, as the metadata of its dataclass field; takes what `OptionFacts` takes."


def options_of(spec: type[Any]) -> tuple[Option, ...]:
    """Read the options that a dataclass declares, in the order of its fields.

    Raises:
        TypeError: For a field whose annotation is of no `Kind`, and for labels that do not match the choices.
    """
    hints = get_type_hints(spec)
    return tuple(_resolve(field, hints[field.name]) for field in dataclasses.fields(spec))


def _resolve(field: dataclasses.Field[Any], hint: Any) -> Option:
    choices = cast("tuple[str, ...]", get_args(hint)) if get_origin(hint) is Literal else ()
    if not choices and hint not in _KINDS:
        raise TypeError(f"The option {field.name} has a type that no front end can show: {hint}.")
    facts: OptionFacts = field.metadata[_KEY]
    if facts.choice_labels and len(facts.choice_labels) != len(choices):
        raise TypeError(f"The option {field.name} has {len(choices)} choices and {len(facts.choice_labels)} labels.")
    default = None if field.default is dataclasses.MISSING else field.default
    return Option(**vars(facts), name=field.name, kind="choice" if choices else _KINDS[hint], default=default, choices=choices)
