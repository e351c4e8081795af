"""Combining embeddings: by rows of names and weights, which become a formula, or by a formula."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from train_embedding.errors import InvalidInput
from train_embedding.services.combining import quote_name
from train_embedding.ui import html
from train_embedding.ui.error_handling import errors_in
from train_embedding.ui.gradio_compat import AT_ONCE, UNLISTED
from train_embedding.ui.library.inspection import inspection_report

if TYPE_CHECKING:
    from markupsafe import Markup

    from train_embedding.services import Services
    from train_embedding.services.combining import Combined

INPUTS = 6
SUM, AVERAGE, CONCATENATE = "sum", "average", "concat"
WAYS = (("Weighted sum", SUM), ("Mean", AVERAGE), ("One after another", CONCATENATE))


@dataclass(frozen=True)
class Combine:
    way: gr.Radio
    names: Sequence[gr.Textbox]
    weights: Sequence[gr.Number]
    fill: gr.Button
    expression: gr.Textbox
    preview: gr.Button
    prompt: gr.Textbox
    draw: gr.Button
    report: gr.HTML
    "What would come of it, and what came of it."
    picture: gr.Image
    name: gr.Textbox
    save: gr.Button
    overwrite: gr.Checkbox


def build() -> Combine:
    way = gr.Radio(choices=list(WAYS), value=WAYS[0][1], label="How", elem_id="te_library_mix_way")
    with gr.Column(elem_classes=["te-rows"]):
        rows = [_row(number) for number in range(1, INPUTS + 1)]
    fill = gr.Button("Write the formula", size="sm", elem_id="te_library_mix_fill")
    expression = gr.Textbox(
        "", label="Formula", info="Such as: my-cat + 0.5 * \"red\"", lines=2, elem_id="te_library_expression"
    )  # fmt: skip
    preview = gr.Button("Look at the result", elem_id="te_library_mix_preview")
    with gr.Row(elem_classes=["te-line"]):
        prompt = gr.Textbox("[name]", label="Prompt", info="[name] is the result.", max_lines=1, elem_id="te_library_mix_prompt")
        draw = gr.Button("Draw it", elem_id="te_library_mix_draw")
    report = gr.HTML("", elem_id="te_library_combined")
    picture = gr.Image(label="Drawn", type="pil", interactive=False, visible=False, elem_id="te_library_mix_picture")
    with gr.Row(elem_classes=["te-line"]):
        name = gr.Textbox("", label="Save as", max_lines=1, elem_id="te_library_mix_save_as")
        save = gr.Button("Save", variant="primary", elem_id="te_library_mix_save")
    overwrite = gr.Checkbox(False, label="Overwrite", elem_id="te_library_mix_overwrite")
    names, weights = zip(*rows, strict=True)
    return Combine(way, names, weights, fill, expression, preview, prompt, draw, report, picture, name, save, overwrite)


def connect(services: Services, combine: Combine, changed: Callable[[], None]) -> Any:
    """Makes the widgets work; `changed` is called after a change. Returns the event of saving, for what should follow."""

    @errors_in(combine.report)
    def fill(way: str, *values: Any) -> dict[Any, Any]:
        return {combine.expression: expression_of(way, values[:INPUTS], values[INPUTS:]), combine.report: ""}

    @errors_in(combine.report)
    def preview(expression: str) -> dict[Any, Any]:
        return {combine.report: _report(services, services.combining.evaluate(expression))}

    @errors_in(combine.report)
    def draw(expression: str, prompt: str) -> dict[Any, Any]:
        made = services.combining.evaluate(expression)
        picture = services.combining.draw(made.embedding, prompt)
        return {combine.picture: gr.update(value=picture, visible=True), combine.report: _report(services, made)}

    @errors_in(combine.report)
    def save(expression: str, name: str, overwrite: bool) -> dict[Any, Any]:
        saved = services.combining.save(expression, name, overwrite)
        changed()
        sentence = f"Created {saved.entry.name} with {html.count(saved.entry.vectors, 'vector')}."
        said = html.message("good", sentence, f"Written to {saved.entry.file}", *saved.notes)
        return {combine.report: said, combine.overwrite: False}

    rows = [combine.way, *combine.names, *combine.weights]
    combine.fill.click(fill, rows, [combine.expression, combine.report], **AT_ONCE)
    combine.preview.click(preview, [combine.expression], [combine.report], **AT_ONCE)
    combine.draw.click(draw, [combine.expression, combine.prompt], [combine.picture, combine.report], **UNLISTED)
    inputs = [combine.expression, combine.name, combine.overwrite]
    return combine.save.click(save, inputs, [combine.report, combine.overwrite], **AT_ONCE)


def expression_of(way: str, names: Sequence[str], weights: Sequence[Any]) -> str:
    """Such as `0.5 * my-cat + 0.5 * 'my dog'`; rows without a name are left out, and words stand in double quotes.

    Raises InvalidInput where no row has a name.
    """
    rows = [(name.strip(), weight) for name, weight in zip(names, weights, strict=True) if name and name.strip()]
    if not rows:
        raise InvalidInput("No embedding is named.", "Write a name into at least one row.")
    terms = [_term(name, 1 if weight is None else weight) for name, weight in rows]
    return " + ".join(terms) if way == SUM else f"{way}({', '.join(terms)})"


def _row(number: int) -> tuple[gr.Textbox, gr.Number]:
    common: dict[str, Any] = {"show_label": number == 1}
    with gr.Row(elem_classes=["te-line"]):
        name = gr.Textbox(
            "", label="Embedding", max_lines=1, scale=3, min_width=90, elem_id=f"te_library_mix_name_{number}",
            elem_classes=["te-name"], **common,
        )  # fmt: skip
        weight = gr.Number(1, label="Weight", scale=1, min_width=60, elem_id=f"te_library_mix_weight_{number}", **common)
    return name, weight


def _report(services: Services, made: Combined) -> Markup:
    report = services.inspection.report_of(made.embedding)
    return inspection_report(report, services.inspection.picture(report), made.notes)


def _term(name: str, weight: float) -> str:
    return _operand(name) if weight == 1 else f"{weight:g} * {_operand(name)}"


def _operand(text: str) -> str:
    """A text in double quotes stays a text; anything else is the name of an embedding."""
    return text if len(text) > 2 and text[0] == text[-1] == '"' else quote_name(text)
