"""Combine embeddings by a formula, which can be built from rows of names and weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from train_embedding.errors import InvalidInput
from train_embedding.messages import Message, msg
from train_embedding.services.combining import quote_name
from train_embedding.translations import t
from train_embedding.ui import html
from train_embedding.ui.error_handling import errors_in
from train_embedding.ui.gradio_compat import AT_ONCE, UNLISTED
from train_embedding.ui.library.inspection import inspection_report
from train_embedding.ui.training.create import created_message

if TYPE_CHECKING:
    from markupsafe import Markup

    from train_embedding.services import Services
    from train_embedding.services.combining import Combined

INPUTS = 6
SUM, AVERAGE, CONCATENATE = "sum", "average", "concat"
METHODS: tuple[tuple[Message, str], ...] = (
    (msg("Weighted sum"), SUM),
    (msg("Mean"), AVERAGE),
    (msg("Concatenate"), CONCATENATE),
)
"Labels and values."


@dataclass(frozen=True)
class Combine:
    """The widgets."""

    method: gr.Radio
    names: Sequence[gr.Textbox]
    weights: Sequence[gr.Number]
    fill: gr.Button
    expression: gr.Textbox
    preview: gr.Button
    prompt: gr.Textbox
    draw: gr.Button
    report: gr.HTML
    "About the result, before and after it is saved."
    image: gr.Image
    name: gr.Textbox
    save: gr.Button
    overwrite: gr.Checkbox


def build() -> Combine:
    """Add the widgets to the Blocks being built."""
    methods = [(t(label), value) for label, value in METHODS]
    method = gr.Radio(choices=methods, value=SUM, label=t("Method"), elem_id="te_library_mix_way")
    with gr.Column(elem_classes=["te-rows"]):
        rows = [_row(number) for number in range(1, INPUTS + 1)]
    fill = gr.Button(t("Write the formula"), size="sm", elem_id="te_library_mix_fill")
    example = t("For example: {formula}", formula='my-cat + 0.5 * "red"')
    expression = gr.Textbox("", label=t("Formula"), info=example, lines=2, elem_id="te_library_expression")
    preview = gr.Button(t("Inspect the result"), elem_id="te_library_mix_preview")
    with gr.Row(elem_classes=["te-line"]):
        prompt = gr.Textbox(
            "[name]", label=t("Prompt"), info=t("[name] stands for the result."), max_lines=1, elem_id="te_library_mix_prompt"
        )
        draw = gr.Button(t("Generate"), elem_id="te_library_mix_draw")
    report = gr.HTML("", elem_id="te_library_combined")
    image = gr.Image(label=t("Generated image"), type="pil", interactive=False, visible=False, elem_id="te_library_mix_picture")
    with gr.Row(elem_classes=["te-line"]):
        name = gr.Textbox("", label=t("Save as"), max_lines=1, elem_id="te_library_mix_save_as")
        save = gr.Button(t("Save"), variant="primary", elem_id="te_library_mix_save")
    overwrite = gr.Checkbox(False, label=t("Overwrite"), elem_id="te_library_mix_overwrite")
    names, weights = zip(*rows, strict=True)
    return Combine(method, names, weights, fill, expression, preview, prompt, draw, report, image, name, save, overwrite)


def connect(services: Services, combine: Combine) -> Any:
    """Make the widgets work.

    Args:
        services: Combine the embeddings.
        combine: The widgets.

    Returns:
        The event of saving, which others may follow.
    """

    @errors_in(combine.report)
    def fill(method: str, *values: Any) -> dict[Any, Any]:
        return {combine.expression: expression_of(method, values[:INPUTS], values[INPUTS:]), combine.report: ""}

    @errors_in(combine.report)
    def preview(expression: str) -> dict[Any, Any]:
        return {combine.report: _report(services, services.combining.evaluate(expression))}

    @errors_in(combine.report)
    def draw(expression: str, prompt: str) -> dict[Any, Any]:
        made = services.combining.evaluate(expression)
        image = services.combining.draw(made.embedding, prompt)
        return {combine.image: gr.update(value=image, visible=True), combine.report: _report(services, made)}

    @errors_in(combine.report)
    def save(expression: str, name: str, overwrite: bool) -> dict[Any, Any]:
        saved = services.combining.save(expression, name, overwrite)
        created = created_message(saved.entry.name, saved.entry.vectors)
        message = html.message("good", created, html.saved_to(saved.entry.file), *saved.notes)
        return {combine.report: message, combine.overwrite: False}

    rows = [combine.method, *combine.names, *combine.weights]
    combine.fill.click(fill, rows, [combine.expression, combine.report], **AT_ONCE)
    combine.preview.click(preview, [combine.expression], [combine.report], **AT_ONCE)
    combine.draw.click(draw, [combine.expression, combine.prompt], [combine.image, combine.report], **UNLISTED)
    inputs = [combine.expression, combine.name, combine.overwrite]
    return combine.save.click(save, inputs, [combine.report, combine.overwrite], **AT_ONCE)


def expression_of(method: str, names: Sequence[str], weights: Sequence[Any]) -> str:
    """Return the formula of rows, such as `0.5 * my-cat + 0.5 * 'my dog'`.

    Args:
        method: SUM, AVERAGE or CONCATENATE.
        names: Of embeddings, or words in double quotes; rows without a name are left out.
        weights: Of the rows; None counts as 1.

    Raises:
        InvalidInput: No row has a name.
    """
    rows = [(name.strip(), weight) for name, weight in zip(names, weights, strict=True) if name and name.strip()]
    if not rows:
        raise InvalidInput(msg("No embedding is given."), msg("Enter a name in at least one row."))
    terms = [_term(name, 1 if weight is None else weight) for name, weight in rows]
    return " + ".join(terms) if method == SUM else f"{method}({', '.join(terms)})"


def _row(number: int) -> tuple[gr.Textbox, gr.Number]:
    common: dict[str, Any] = {"show_label": number == 1}
    with gr.Row(elem_classes=["te-line"]):
        name = gr.Textbox(
            "", label=t("Embedding"), max_lines=1, scale=3, min_width=90, elem_id=f"te_library_mix_name_{number}",
            elem_classes=["te-name"], **common,
        )  # fmt: skip
        weight = gr.Number(1, label=t("Weight"), scale=1, min_width=60, elem_id=f"te_library_mix_weight_{number}", **common)
    return name, weight


def _report(services: Services, made: Combined) -> Markup:
    report = services.inspection.report_of(made.embedding)
    return inspection_report(report, services.inspection.heat_map(report), made.notes)


def _term(name: str, weight: float) -> str:
    return _operand(name) if weight == 1 else f"{weight:g} * {_operand(name)}"


def _operand(text: str) -> str:
    """Return a text in double quotes as it is, and anything else as the name of an embedding."""
    return text if len(text) > 2 and text[0] == text[-1] == '"' else quote_name(text)
