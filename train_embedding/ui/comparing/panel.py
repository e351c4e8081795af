"""The comparison below the details of a run: prompts and settings, the grid of images, and the button that uses a step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from train_embedding.errors import InvalidInput
from train_embedding.messages import msg
from train_embedding.services import comparing
from train_embedding.translations import t
from train_embedding.ui import html as messages
from train_embedding.ui.comparing import html
from train_embedding.ui.comparing.fields import GridFields, build_negative_prompt, build_numbers, build_prompts, read_options
from train_embedding.ui.error_handling import errors_in
from train_embedding.ui.gradio_compat import AT_ONCE

if TYPE_CHECKING:
    from train_embedding.services import Services
    from train_embedding.ui.runs.panel import RunsPanel

Updates = dict[Any, Any]
PREFIX = "te_compare"


@dataclass(frozen=True)
class ComparePanel:
    """The widgets."""

    fields: GridFields
    steps: gr.Textbox
    draw: gr.Button
    stop: gr.Button
    status: gr.HTML
    undo: gr.Button
    grid: gr.HTML
    run: gr.Textbox
    "Hidden; the run that is compared."
    step: gr.Textbox
    "Hidden; the script writes the step of the clicked button here."
    use: gr.Button
    "Hidden; the script then clicks it."
    update: gr.Button
    "Hidden; the script clicks it while images are drawn."
    replaced: gr.Textbox
    "Hidden; the id in the trash that the undo button brings back."


def build() -> ComparePanel:
    """Add the panel to the Blocks being built."""
    with gr.Column(elem_id=PREFIX):
        gr.HTML(messages.heading(msg("Compare steps")))
        with gr.Row(equal_height=False):
            prompts = build_prompts(PREFIX)
            with gr.Column(scale=2, min_width=220):
                steps = gr.Textbox(
                    "", label=t("Steps"), max_lines=1, elem_id="te_compare_steps",
                    info=t("For example 0, 60, 120; 0 is the start. If empty, up to 8 steps, evenly spaced."),
                )  # fmt: skip
                negative_prompt = build_negative_prompt(PREFIX)
        with gr.Row():
            numbers = build_numbers(PREFIX)
        with gr.Row():
            draw = gr.Button(t("Generate images"), variant="primary", elem_id="te_compare_draw")
            stop = gr.Button(t("Stop"), interactive=False, elem_id="te_compare_stop")
        status = gr.HTML("", elem_id="te_compare_status")
        undo = gr.Button(t("Undo"), size="sm", elem_id="te_compare_undo")
        grid = gr.HTML("", elem_id="te_compare_grid")
    with gr.Column(elem_classes=["te-hidden"]):
        run = gr.Textbox("", show_label=False, elem_id="te_compare_run")
        step = gr.Textbox("", show_label=False, elem_id="te_compare_step")
        use = gr.Button("Use the step", elem_id="te_compare_use")
        update = gr.Button("Show the images", elem_id="te_compare_update")
        replaced = gr.Textbox("", show_label=False, elem_id="te_compare_replaced")
    fields = GridFields(prompts, negative_prompt, numbers)
    return ComparePanel(fields, steps, draw, stop, status, undo, grid, run, step, use, update, replaced)


def connect(services: Services, panel: ComparePanel, runs: RunsPanel) -> Sequence[Any]:
    """Make everything in the panel work; return the events that change an embedding, which others may follow."""
    _connect_opening(services, panel, runs)
    _connect_drawing(services, panel)
    return _connect_using(services, panel)


def _connect_opening(services: Services, panel: ComparePanel, runs: RunsPanel) -> None:
    def opened(run_id: str) -> Updates:
        fields = {**panel.fields.updates(services.comparing.default_options(run_id)), panel.steps: ""}
        return {**fields, panel.run: run_id, panel.status: "", panel.replaced: "", **_shown(services, panel, run_id)}

    @errors_in(panel.status)
    def open_comparison(selected: str) -> Updates:
        return opened(_needed(selected))

    @errors_in(panel.status)
    def follow_selection(selected: str, run_id: str) -> Updates:
        return opened(selected) if run_id and selected and selected != run_id else {panel.status: gr.update()}

    every = [*panel.fields.widgets, panel.steps, panel.run, panel.status, panel.replaced, panel.grid, panel.stop]
    runs.compare.click(open_comparison, [runs.selected], every, **AT_ONCE)
    runs.select.click(follow_selection, [runs.selected, panel.run], every, **AT_ONCE)


def _connect_drawing(services: Services, panel: ComparePanel) -> None:
    @errors_in(panel.status)
    def draw_comparison(run_id: str, prompts: str, steps: str, negative_prompt: str, *values: float | None) -> Updates:
        options = read_options(prompts, negative_prompt, values)
        services.comparing.start(_needed(run_id), options, comparing.parse_steps(steps or ""))
        return {panel.status: "", **_shown(services, panel, run_id)}

    @errors_in(panel.status)
    def stop_comparison(run_id: str) -> Updates:
        services.comparing.stop(_needed(run_id))
        return _shown(services, panel, run_id)

    @errors_in(panel.status)
    def update_comparison(run_id: str) -> Updates:
        return _shown(services, panel, run_id) if run_id else {panel.status: gr.update()}

    prompts, *settings = panel.fields.widgets
    fields = [panel.run, prompts, panel.steps, *settings]
    outputs = [panel.status, panel.grid, panel.stop]
    panel.draw.click(draw_comparison, fields, outputs, **AT_ONCE)
    panel.stop.click(stop_comparison, [panel.run], outputs, **AT_ONCE)
    panel.update.click(update_comparison, [panel.run], outputs, **AT_ONCE)


def _connect_using(services: Services, panel: ComparePanel) -> Sequence[Any]:
    @errors_in(panel.status)
    def use_run_step(run_id: str, step: str) -> Updates:
        (chosen,) = comparing.parse_steps(step) or (0,)
        used = services.comparing.use_step(_needed(run_id), chosen)
        shown = {panel.status: html.used_message(used), panel.replaced: used.trash_id}
        return {**shown, **_shown(services, panel, run_id)}

    @errors_in(panel.status)
    def undo_use(run_id: str, trash_id: str) -> Updates:
        entry = services.comparing.undo_use(_needed(run_id), trash_id)
        text = msg("The previous file of {name} is back.", name=entry.name)
        return {panel.status: messages.message("good", text), panel.replaced: "", **_shown(services, panel, run_id)}

    outputs = [panel.status, panel.replaced, panel.grid, panel.stop]
    return (
        panel.use.click(use_run_step, [panel.run, panel.step], outputs, **AT_ONCE),
        panel.undo.click(undo_use, [panel.run, panel.replaced], outputs, **AT_ONCE),
    )


def _shown(services: Services, panel: ComparePanel, run_id: str) -> Updates:
    """Return the updates that show the grid of a run."""
    compared = services.comparing
    grid = compared.find(run_id)
    shown = html.comparison(run_id, grid, compared.steps(run_id), compared.dataset_images(run_id))
    return {panel.grid: shown, panel.stop: gr.update(interactive=grid is not None and grid.status == "drawing")}


def _needed(run_id: str) -> str:
    if not run_id:
        raise InvalidInput(msg("No run is selected."), msg("Click one in the list first."))
    return run_id
