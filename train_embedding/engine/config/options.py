"""Declaration of the options of a training run: each is a dataclass field whose metadata holds its label, help and bounds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, ParamSpec, cast, get_args, get_origin, get_type_hints

from train_embedding.messages import NOTHING, Message, msg, verbatim

Group = Literal["Basics", "What to learn", "Images", "Captions", "Optimization", "Stopping", "Snapshots and previews"]
"Groups of options, in the order in which they are shown."
GROUP_LABELS: dict[Group, Message] = {
    "Basics": msg("Basics"),
    "What to learn": msg("What to learn"),
    "Images": msg("Images"),
    "Captions": msg("Captions"),
    "Optimization": msg("Optimization"),
    "Stopping": msg("Stopping"),
    "Snapshots and previews": msg("Snapshots and previews"),
}
"Headings of the groups."
Kind = Literal["text", "lines", "integer", "number", "flag", "choice"]
"Type of an option, from the annotation of its field: str, tuple[str, ...], int, float, bool or a Literal."

_KINDS: dict[Any, Kind] = {str: "text", tuple[str, ...]: "lines", int: "integer", float: "number", bool: "flag"}
_KEY = "option"
_P = ParamSpec("_P")


@dataclass(frozen=True)
class OptionFacts:
    """Everything about an option except its name, type and default.

    Attributes:
        label: Name in the tab.
        help: One or two sentences for the tab, the command line, the API and the guide.
        group: Group in which it is shown.
        details: Further sentences for the API and the guide, in Markdown.
        low: Smallest number allowed.
        high: Largest number allowed.
        multiple_of: Divisor that a whole number must have.
        unit: Unit of a number, in the plural.
        choice_labels: Names of the choices in the tab; empty if they are the choices themselves.
        advanced: Whether it is in the tab's "Advanced" section.
        new_row: Whether it starts a row in the tab.
        wide: Whether its widget is wider than its neighbours.
        multiline: Whether a text may have several lines.
        placeholder: Example of a text.
        changeable_on_resume: Whether it can be changed when a run is resumed, as it has no effect on the vectors.
    """

    label: Message
    help: Message
    group: Group
    details: str = ""
    low: float | None = None
    high: float | None = None
    multiple_of: int = 1
    unit: str = ""
    choice_labels: tuple[Message, ...] = ()
    advanced: bool = True
    new_row: bool = False
    wide: bool = False
    multiline: bool = False
    placeholder: Message = NOTHING
    changeable_on_resume: bool = False


@dataclass(frozen=True, kw_only=True)
class Option(OptionFacts):
    """An option of a training run: its declaration, with the name, type and default of its field.

    Attributes:
        name: Of the field and in the API.
        kind: Its type.
        default: Of the field; None if the field has none.
        choices: Values that it may have, for the kind "choice".
    """

    name: str
    kind: Kind
    default: Any
    choices: tuple[str, ...] = ()

    @property
    def flag(self) -> str:
        """Name on the command line, such as `--batch-size`."""
        return f"--{self.name.replace('_', '-')}"

    def labelled_choices(self) -> list[tuple[Message, str]]:
        """Return the label and the value of each choice."""
        return list(zip(self.choice_labels or map(verbatim, self.choices), self.choices, strict=True))


def _as_metadata(make: Callable[_P, OptionFacts]) -> Callable[_P, dict[str, OptionFacts]]:
    def option(*args: _P.args, **kwargs: _P.kwargs) -> dict[str, OptionFacts]:
        return {_KEY: make(*args, **kwargs)}

    return option


option = _as_metadata(OptionFacts)
"Make the metadata of a dataclass field that declares an option. Takes the arguments of `OptionFacts`."


def options_of(spec: type[Any]) -> tuple[Option, ...]:
    """Read the options that a dataclass declares, in the order of its fields.

    Raises:
        TypeError: The annotation of a field has no `Kind`, the number of labels differs from the number of choices, or a
            number has no bounds.
    """
    hints = get_type_hints(spec)
    return tuple(_resolve(field, hints[field.name]) for field in dataclasses.fields(spec))


def _resolve(field: dataclasses.Field[Any], hint: Any) -> Option:
    choices = cast("tuple[str, ...]", get_args(hint)) if get_origin(hint) is Literal else ()
    if not choices and hint not in _KINDS:
        raise TypeError(f"The option {field.name} has an unsupported type: {hint}.")
    facts: OptionFacts = field.metadata[_KEY]
    if facts.choice_labels and len(facts.choice_labels) != len(choices):
        raise TypeError(f"The option {field.name} has {len(choices)} choices and {len(facts.choice_labels)} labels.")
    kind: Kind = "choice" if choices else _KINDS[hint]
    if kind in ("integer", "number") and (facts.low is None or facts.high is None):
        raise TypeError(f"The option {field.name} is a number without bounds.")
    default = None if field.default is dataclasses.MISSING else field.default
    return Option(**vars(facts), name=field.name, kind=kind, default=default, choices=choices)
