"""The widgets of the options of a training run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

import gradio as gr

from train_embedding.engine.config import (
    OPTIONS,
    PRESETS,
    Option,
    TrainingSpec,
    check_option,
    preset_values,
    with_current_names,
)
from train_embedding.errors import InvalidInput, InvalidOption, InvalidSpec
from train_embedding.messages import msg

BY_NAME = {option.name: option for option in OPTIONS}
DEFAULTS: dict[str, Any] = {option.name: "" if option.default is None else option.default for option in OPTIONS}


def elem_id(name: str) -> str:
    """Return the id of an option's widget in the page."""
    return f"te_train_{name}"


def rows_of(options: Iterable[Option]) -> list[list[Option]]:
    """Arrange options in the rows that their declarations ask for."""
    rows: list[list[Option]] = []
    for option in options:
        if option.new_row or not rows:
            rows.append([])
        rows[-1].append(option)
    return rows


def make_widget(option: Option, value: Any) -> Any:
    """Make the widget of an option, which shows a value of it."""
    common: dict[str, Any] = {"label": option.label, "info": option.help, "elem_id": elem_id(option.name)}
    if option.name == "embedding":
        # Any name may be typed: the service says what is wrong with one that it does not know.
        choices = [value] if value else []
        return gr.Dropdown(choices=choices, value=value or None, allow_custom_value=True, scale=1, **common)
    if option.kind == "choice":
        return gr.Radio(choices=option.labelled_choices(), value=value, **common)
    if option.kind == "flag":
        return gr.Checkbox(value, **common)
    if option.kind in ("integer", "number"):
        return gr.Number(value, min_width=90, scale=1, **common)
    if option.kind == "lines":
        return gr.Textbox(widget_value(option.name, value), lines=5, max_lines=12, **common)
    if option.multiline:
        return gr.Textbox(value, lines=2, max_lines=6, **common)
    scale = 2 if option.wide else 1
    return gr.Textbox(value, placeholder=option.placeholder, scale=scale, min_width=90, **common)


def widget_value(name: str, value: Any) -> Any:
    """Return an option's value as its widget takes it."""
    return "\n".join(value) if BY_NAME[name].kind == "lines" else value


def initial_values(remembered: Mapping[str, Any]) -> dict[str, Any]:
    """Return values for all options: the remembered ones, under today's names or earlier ones, where they are allowed."""
    values = {**DEFAULTS, **preset_values(DEFAULTS["preset"])}
    for name, value in with_current_names(remembered).items():
        if name in values:
            restored = tuple(cast("list[object]", value)) if isinstance(value, list) else value
            if _is_allowed(BY_NAME[name], restored):
                values[name] = restored
    return values


def read_spec(raw: Mapping[str, Any]) -> TrainingSpec:
    """Build the spec from the values of all widgets, by option.

    Raises:
        InvalidInput: Something is missing or not allowed; the sentence names the widget's label.
    """
    values = {name: _read(BY_NAME[name], value) for name, value in raw.items()}
    if not values["embedding"]:
        raise InvalidInput("No embedding is chosen.", "Choose one, or create one on the left first.")
    if not values["dataset"] and not values["teacher_prompt"].strip():
        raise InvalidInput("No dataset folder is given.", f'Enter its path in "{BY_NAME["dataset"].label}".')
    try:
        return TrainingSpec.from_json(values)
    except InvalidOption as problem:
        raise problem.shown_as(msg('"{option}"', option=BY_NAME[problem.option].label)) from problem


def preset_updates(preset: str) -> dict[str, Any]:
    """Return the values of every option that some preset sets, as this preset has them."""
    values = {**DEFAULTS, **preset_values(preset)}
    return {name: values[name] for name in sorted({name for values in PRESETS.values() for name in values})}


def _read(option: Option, value: Any) -> Any:
    """Turn a widget's value into the option's. gradio gives 400.0 for 400, and None for an empty widget."""
    if option.kind in ("integer", "number"):
        if value is None or value == "":
            raise InvalidSpec(f'"{option.label}" is empty.', "Enter a number.")
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
