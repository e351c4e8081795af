"""The comparison of embeddings and runs on the sub-tab Library: what to compare, the settings, and the grid of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from train_embedding.errors import Conflict
from train_embedding.messages import DOT, joined, msg
from train_embedding.translations import t
from train_embedding.ui.comparing import html
from train_embedding.ui.comparing.fields import GridFields, build_negative_prompt, build_numbers, build_prompts, read_options
from train_embedding.ui.error_handling import errors_in
from train_embedding.ui.gradio_compat import AT_ONCE, MAJOR
from train_embedding.ui.library.chosen import Chosen, entry_of

if TYPE_CHECKING:
    from train_embedding.services import Services

Updates = dict[Any, Any]
PREFIX = "te_together"
OFFERED_RUNS = 100
"The newest runs that can be chosen."
_GRID = ""
"The id of the grid of embeddings."


@dataclass(frozen=True)
class TogetherPanel:
    """The widgets."""

    box: gr.Accordion
    embeddings: gr.Dropdown
    runs: gr.Dropdown
    fields: GridFields
    draw: gr.Button
    stop: gr.Button
    status: gr.HTML
    grid: gr.HTML
    opened: gr.Textbox
    "Hidden; filled when the page has the last grid. It is in the page because the server may forget a page's state."
    update: gr.Button
    "Hidden; the script clicks it when the panel is opened, and while images are drawn."


def build() -> TogetherPanel:
    """Add the panel to the Blocks being built."""
    with gr.Accordion(t("Compare embeddings"), open=False, elem_id=PREFIX) as box:
        with gr.Row(equal_height=False):
            embeddings = _choice(t("Embeddings"), "embeddings", t("Each is a row of the grid."))
            runs = _choice(t("Training runs"), "runs", t("The row shows the step that the run has saved."))
        with gr.Row(equal_height=False):
            prompts = build_prompts(PREFIX)
            with gr.Column(scale=2, min_width=220):
                negative_prompt = build_negative_prompt(PREFIX)
        with gr.Row():
            numbers = build_numbers(PREFIX)
        with gr.Row():
            draw = gr.Button(t("Generate images"), variant="primary", elem_id=f"{PREFIX}_draw")
            stop = gr.Button(t("Stop"), interactive=False, elem_id=f"{PREFIX}_stop")
        status = gr.HTML("", elem_id=f"{PREFIX}_status")
        grid = gr.HTML("", elem_id=f"{PREFIX}_grid")
    with gr.Column(elem_classes=["te-hidden"]):
        opened = gr.Textbox("", show_label=False, elem_id=f"{PREFIX}_opened")
        update = gr.Button("Show the images", elem_id=f"{PREFIX}_update")
    return TogetherPanel(
        box, embeddings, runs, GridFields(prompts, negative_prompt, numbers), draw, stop, status, grid, opened, update
    )


def connect(services: Services, panel: TogetherPanel) -> None:
    """Make everything in the panel work."""

    @errors_in(panel.status)
    def draw_together(names: Sequence[str] | None, runs: Sequence[str] | None, *values: Any) -> Updates:
        prompts, negative_prompt, *numbers = values
        options = read_options(prompts, negative_prompt, numbers)
        services.comparing.start_embeddings(names or (), options, [_run_of(label) for label in runs or ()])
        return {panel.status: "", panel.opened: "yes", **_shown(services, panel)}

    @errors_in(panel.status)
    def stop_together() -> Updates:
        services.comparing.stop(_GRID)
        return _shown(services, panel)

    @errors_in(panel.status)
    def update_together(opened: str) -> Updates:
        grid, shown = services.comparing.find(_GRID), _shown(services, panel)
        if not opened:
            return {**shown, **_last(services, panel), panel.opened: "yes"}
        return shown if grid is not None and grid.active else {**shown, **_choices(services, panel)}

    outputs = [panel.status, panel.grid, panel.stop, panel.opened]
    filled = [panel.embeddings, panel.runs, *panel.fields.widgets]
    panel.draw.click(draw_together, filled, outputs, **AT_ONCE)
    panel.stop.click(stop_together, [], outputs, **AT_ONCE)
    panel.update.click(update_together, [panel.opened], [*outputs, *filled], **AT_ONCE)


def connect_adding(services: Services, panel: TogetherPanel, chosen: Chosen) -> None:
    """Make the button that adds the selected embedding to the comparison work."""

    @errors_in(chosen.status)
    def add_to_comparison(key: str, opened: str, names: Sequence[str] | None) -> Updates:
        entry = entry_of(services, key)
        if not entry.loaded:
            raise Conflict(msg('No images can be generated with "{name}".', name=entry.name), entry.reason)
        before = names or () if opened else _last_names(services)
        value = list(dict.fromkeys([*before, entry.name]))
        filled = {} if opened else {**_last(services, panel), **_shown(services, panel), panel.opened: "yes"}
        embeddings = gr.update(choices=_names(services), value=value)
        return {**filled, panel.embeddings: embeddings, panel.box: gr.update(open=True), chosen.status: ""}

    outputs = [panel.embeddings, panel.runs, *panel.fields.widgets, panel.grid, panel.stop, panel.opened, panel.box]
    add = [chosen.selected, panel.opened, panel.embeddings]
    chosen.compare.click(add_to_comparison, add, [*outputs, chosen.status], **AT_ONCE)


def _choice(label: str, name: str, info: str) -> gr.Dropdown:
    custom: dict[str, Any] = {} if MAJOR < 4 else {"allow_custom_value": True}  # gradio 3 checks no values
    return gr.Dropdown(choices=[], multiselect=True, label=label, info=info, elem_id=f"{PREFIX}_{name}", **custom)


def _names(services: Services) -> list[str]:
    return list(dict.fromkeys(entry.name for entry in services.library.list() if entry.loaded))


def _run_labels(services: Services) -> dict[str, str]:
    """Return the labels of the newest runs that can be compared, by id."""
    newest = [state for state in services.runs.list() if not state.active][:OFFERED_RUNS]
    steps = {state.id: services.comparing.step_of_run(state.id) for state in newest}
    labels = {state.id: joined([state.embedding, msg("step {step}", step=steps[state.id]), state.id], DOT) for state in newest}
    return {run: str(t(label)) for run, label in labels.items() if steps[run] is not None}


def _run_of(label: str) -> str:
    """Return the id at the end of a label; a Dropdown of gradio 3 has no values besides its labels."""
    return label.rpartition(DOT)[2]


def _choices(services: Services, panel: TogetherPanel) -> Updates:
    runs = list(_run_labels(services).values())
    return {panel.embeddings: gr.update(choices=_names(services)), panel.runs: gr.update(choices=runs)}


def _last(services: Services, panel: TogetherPanel) -> Updates:
    """Return the updates that fill the fields with the last grid."""
    grid = services.comparing.find(_GRID)
    rows = () if grid is None else grid.rows
    options = services.comparing.default_options(_GRID)
    labels = _run_labels(services)
    runs = [labels[row.run] for row in rows if row.run in labels]
    return {
        **panel.fields.updates(options),
        panel.embeddings: gr.update(choices=_names(services), value=_last_names(services)),
        panel.runs: gr.update(choices=list(labels.values()), value=runs),
    }


def _last_names(services: Services) -> list[str]:
    grid = services.comparing.find(_GRID)
    return [] if grid is None else [row.embedding for row in grid.rows if not row.run]


def _shown(services: Services, panel: TogetherPanel) -> Updates:
    grid = services.comparing.find(_GRID)
    shown = "" if grid is None else html.embeddings(grid)
    return {panel.grid: shown, panel.stop: gr.update(interactive=grid is not None and grid.status == "drawing")}
