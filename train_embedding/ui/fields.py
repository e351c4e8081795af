"""The widgets of the options of a training run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import gradio as gr

from train_embedding.engine.config import (
    OPTIONS,
    PRESETS,
    Option,
    TrainingSpec,
    check_option,
    preset_values,
    with_added,
    with_current_names,
)
from train_embedding.errors import InvalidInput, InvalidOption, InvalidSpec
from train_embedding.messages import msg
from train_embedding.services.kinds import DECIDED, Kind, kind_of
from train_embedding.translations import t

BY_NAME = {option.name: option for option in OPTIONS}
DEFAULTS: dict[str, Any] = {option.name: "" if option.default is None else option.default for option in OPTIONS}


def elem_id(name: str) -> str:
    """Return the id of an option's widget in the page."""
    return f"te_train_{name}"


def rows_of(options: Iterable[Option]) -> list[list[Option]]:
    """Arrange options in rows, as their declarations say."""
    rows: list[list[Option]] = []
    for option in options:
        if option.new_row or not rows:
            rows.append([])
        rows[-1].append(option)
    return rows


def make_widget(option: Option, value: Any) -> Any:
    """Make the widget of an option, which shows a value of it."""
    common: dict[str, Any] = {
        "label": t(option.label),
        "info": t(option.help),
        "elem_id": elem_id(option.name),
    }
    if option.name == "dataset":
        common["info"] = t("Choose a dataset, or type the path of a folder of 5 to 20 images and press Enter.")
    if option.name in ("embedding", "dataset"):
        # Anything may be typed: the service explains what is wrong with an unknown name or folder.
        choices = [value] if value else []
        return gr.Dropdown(choices=choices, value=value or None, allow_custom_value=True, scale=1, **common)
    if option.kind == "choice":
        choices = [(t(label), word) for label, word in option.labelled_choices()]
        return gr.Radio(choices=choices, value=value, **common)
    if option.kind == "flag":
        return gr.Checkbox(value, **common)
    if option.kind in ("integer", "number"):
        return gr.Number(value, min_width=90, scale=1, **common)
    if option.kind == "lines":
        return gr.Textbox(widget_value(option.name, value), lines=5, max_lines=12, **common)
    if option.multiline:
        return gr.Textbox(value, lines=2, max_lines=6, **common)
    scale = 2 if option.wide else 1
    return gr.Textbox(value, placeholder=t(option.placeholder), scale=scale, min_width=90, **common)


def widget_value(name: str, value: Any) -> Any:
    """Convert an option's value to what its widget shows."""
    return "\n".join(value) if BY_NAME[name].kind == "lines" else value


def initial_values(remembered: Mapping[str, Any]) -> dict[str, Any]:
    """Return values for all options: the remembered ones where they are still allowed, else those of the default preset.

    Args:
        remembered: By the names that options have now or had in earlier versions.
    """
    values = {**DEFAULTS, **preset_values(DEFAULTS["preset"])}
    known = with_current_names(remembered)
    for name, value in (with_added(known) if "learning_rate" in known else known).items():
        if name in values:
            restored = tuple(cast("list[object]", value)) if isinstance(value, list) else value
            if _is_allowed(BY_NAME[name], restored):
                values[name] = restored
    return values


def read_spec(raw: Mapping[str, Any], *, packs: bool = False) -> TrainingSpec:
    """Build the spec from the values of all widgets, by option.

    Args:
        raw: The values.
        packs: Whether a prompt is to be packed.

    Raises:
        InvalidInput: Something is missing or not allowed; the message names the widget's label.
    """
    values = {name: _read(BY_NAME[name], value) for name, value in raw.items()}
    if not values["embedding"]:
        raise InvalidInput(msg("No embedding is selected."), msg("Select one, or create one first."))
    if packs and not values["teacher_prompt"].strip():
        raise InvalidInput(
            msg("No prompt to pack is given."), msg('Enter it in "{option}".', option=BY_NAME["teacher_prompt"].label)
        )
    if not values["dataset"] and not values["teacher_prompt"].strip():
        hint = msg('Enter the path of its folder in "{option}".', option=BY_NAME["dataset"].label)
        raise InvalidInput(msg("No dataset is given."), hint)
    try:
        return TrainingSpec.from_json(values)
    except InvalidOption as problem:
        raise problem.shown_as(msg('"{option}"', option=BY_NAME[problem.option].label)) from problem


def read_options(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the values of some widgets to those of their options; without a value, a choice of names is empty.

    Raises:
        InvalidInput: A value is not allowed; the message names the widget's label.
    """
    values = {name: _read(BY_NAME[name], "" if value is None and name == "embedding" else value) for name, value in raw.items()}
    for name, value in values.items():
        option = BY_NAME[name]
        if option.kind == "lines":
            values[name] = value = tuple(line for line in value.splitlines() if line.strip())
        if not value and option.kind in ("text", "lines"):
            continue
        try:
            check_option(option, value)
        except InvalidOption as problem:
            raise problem.shown_as(msg('"{option}"', option=option.label)) from problem
    return values


def read_value(option: Option, raw: Any) -> Any:
    """Convert a widget's value to the option's. Raises InvalidSpec for an empty number."""
    value = _read(option, raw)
    return tuple(line.strip() for line in value.splitlines() if line.strip()) if option.kind == "lines" else value


def differs(option: Option, raw: Any, usual: Any) -> bool:
    """Whether a widget shows, or would give, another value than the usual one."""
    if isinstance(raw, tuple):
        return raw != usual
    try:
        return read_value(option, raw) != usual
    except InvalidSpec:
        return True


def kind_of_widgets(decided: Sequence[Any], **source: str | None) -> Kind | None:
    """Return the kind of embedding that widgets show; None if their values are the user's own.

    Args:
        decided: The values of the widgets of `kinds.DECIDED`.
        source: The dataset and the prompt to pack, where they count.
    """
    lines, *prompts = decided
    given = lines.splitlines() if isinstance(lines, str) else lines
    template = tuple(line.strip() for line in given if line.strip())
    return kind_of({**dict(zip(DECIDED, (template, *prompts), strict=True)), **source})


def preset_updates(preset: str) -> dict[str, Any]:
    """Return the values that a preset gives to every option that any preset sets."""
    values = {**DEFAULTS, **preset_values(preset)}
    return {name: values[name] for name in sorted({name for values in PRESETS.values() for name in values})}


def _read(option: Option, value: Any) -> Any:
    """Convert a widget's value to the option's. gradio gives 400.0 for 400, and None for an empty widget."""
    if option.kind in ("integer", "number"):
        if value is None or value == "":
            raise InvalidSpec(msg('"{option}" is empty.', option=option.label), msg("Enter a number."))
        return int(value) if isinstance(value, float) and value.is_integer() else value
    if option.kind in ("text", "lines"):
        text = "" if value is None else str(value)
        return text if option.multiline or option.kind == "lines" else text.strip()
    return value


def _is_allowed(option: Option, value: object) -> bool:
    try:
        check_option(option, value)
    except InvalidOption:
        return False
    return True
