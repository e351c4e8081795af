"""The fields of a grid: prompts and the settings of its images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from train_embedding.errors import InvalidInput
from train_embedding.messages import Message, msg
from train_embedding.services.comparing import GridOptions, parse_prompts
from train_embedding.translations import t

_LABELS = {
    "seed": msg("Seed"),
    "width": msg("Width"),
    "height": msg("Height"),
    "sampling_steps": msg("Sampling steps"),
    "guidance": msg("CFG scale"),
}
_SIZE = msg("0: the native size of the checkpoint.")


@dataclass(frozen=True)
class GridFields:
    """The widgets."""

    prompts: gr.Textbox
    negative_prompt: gr.Textbox
    numbers: dict[str, gr.Number]
    "By the name of their option."

    @property
    def widgets(self) -> list[Any]:
        """All widgets, in the order in which `read_options` takes their values."""
        return [self.prompts, self.negative_prompt, *self.numbers.values()]

    def updates(self, options: GridOptions) -> dict[Any, Any]:
        """Return the updates that show options."""
        numbers = {widget: getattr(options, name) for name, widget in self.numbers.items()}
        return {self.prompts: "\n".join(options.prompts), self.negative_prompt: options.negative_prompt, **numbers}


def build_prompts(prefix: str) -> gr.Textbox:
    """Add the field for prompts; `prefix` begins its id."""
    return gr.Textbox(
        "[name]", label=t("Prompts"), lines=3, max_lines=8, scale=3, min_width=260, elem_id=f"{prefix}_prompts",
        info=t("One prompt per line. [name] is the trigger word."),
    )  # fmt: skip


def build_negative_prompt(prefix: str) -> gr.Textbox:
    """Add the field for the negative prompt."""
    return gr.Textbox("", label=t("Negative prompt"), max_lines=3, elem_id=f"{prefix}_negative_prompt")


def build_numbers(prefix: str) -> dict[str, gr.Number]:
    """Add the fields for seed, size, sampling steps and CFG scale."""
    options = GridOptions()

    def number(name: str, label: Message) -> gr.Number:
        info = t(_SIZE) if name in ("width", "height") else None
        return gr.Number(getattr(options, name), label=t(label), info=info, min_width=80, elem_id=f"{prefix}_{name}")

    return {name: number(name, label) for name, label in _LABELS.items()}


def read_options(prompts: str | None, negative_prompt: str | None, values: Sequence[float | None]) -> GridOptions:
    """Return the options in the values of the widgets. Raises InvalidInput for an empty number."""
    numbers = {name: _number(label, value) for (name, label), value in zip(_LABELS.items(), values, strict=True)}
    return GridOptions(parse_prompts(prompts or ""), negative_prompt or "", **numbers)


def _number(label: Message, value: float | None) -> Any:
    """Convert a widget's value: gradio gives 400.0 for 400, and None for an empty widget."""
    if value is None:
        raise InvalidInput(msg('"{option}" is empty.', option=label), msg("Enter a number."))
    return int(value) if isinstance(value, float) and value.is_integer() else value
