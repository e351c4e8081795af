"""The Train panel: the options of a run, its buttons, and its progress."""

from __future__ import annotations

import importlib
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from train_embedding.engine.config import GROUP_LABELS, OPTIONS, Group, Option
from train_embedding.errors import NotFound, UnreadableFile
from train_embedding.messages import msg
from train_embedding.services.sidecars import decode_preview, read_preview
from train_embedding.translations import t
from train_embedding.ui import fields, html
from train_embedding.ui.error_handling import errors_in, remember
from train_embedding.ui.gradio_compat import AT_ONCE, dropdown, gallery, line_plot

if TYPE_CHECKING:
    from train_embedding.services import Services
    from train_embedding.services.training import RunState

logger = logging.getLogger(__name__)

CAPTIONS: Group = "Captions"
SHOWN_PREVIEWS = 12
"Number of previews in the gallery: the first and the newest."
STEP, LOSS, CURVE = "step", "loss", "curve"
"Columns of the plot's table."
_OWN_TEMPLATE = ""
"Stands in the choice of templates for the lines as they are."


@dataclass(frozen=True)
class TrainPanel:
    """The widgets of the panel."""

    widgets: dict[str, Any]
    "The widget of each option of a run."
    values: dict[str, Any]
    "The values they were built with."
    dataset_check: gr.HTML
    template_choice: gr.Dropdown
    start: gr.Button
    stop: gr.Button
    resume: gr.Button
    progress: gr.HTML
    status: gr.HTML
    plot: gr.LinePlot
    gallery: gr.Gallery
    images: gr.HTML


def build(services: Services) -> TrainPanel:
    """Add the panel, with the last used values, to the Blocks being built."""
    values = fields.initial_values(services.settings.load())
    widgets: dict[str, Any] = {}
    gr.HTML(html.panel_title(msg("Train")))
    first, *others = fields.rows_of(option for option in OPTIONS if not option.advanced)
    _add_rows(widgets, [first], values)
    dataset_check = gr.HTML("", elem_id="te_train_dataset_check")
    _add_rows(widgets, others, values)
    template_choice = dropdown(
        [(t("(the lines below)"), _OWN_TEMPLATE), *((name, name) for name in services.datasets.templates())],
        _OWN_TEMPLATE,
        label=t("Caption template"),
        info=t("Fills in the lines below."),
        elem_id="te_train_template_choice",
        render=False,
    )
    with gr.Accordion(t("Advanced"), open=False, elem_id="te_train_advanced"):
        for group in advanced_groups():
            gr.HTML(html.heading(GROUP_LABELS[group]))
            if group == CAPTIONS:
                template_choice.render()
            rows = fields.rows_of(option for option in OPTIONS if option.advanced and option.group == group)
            _add_rows(widgets, rows, values)
    with gr.Row():
        start = gr.Button(t("Train"), variant="primary", elem_id="te_train_button")
        stop = gr.Button(t("Stop"), interactive=False, elem_id="te_train_stop")
        resume = gr.Button(t(html.RESUME), interactive=False, elem_id="te_train_resume")
    panel = TrainPanel(
        widgets, values, dataset_check, template_choice, start, stop, resume,
        progress=gr.HTML(html.progress(None), elem_id="te_train_progress"),
        status=gr.HTML("", elem_id="te_train_status"),
        plot=line_plot(
            x=STEP, y=LOSS, color=CURVE, x_title=t("Step"), y_title=t("Loss"), color_title=t("Curve"), label=t("Loss"),
            elem_id="te_train_plot",
        ),
        gallery=gallery(label=t("Previews"), columns=4, height=240, object_fit="contain", elem_id="te_train_gallery"),
        images=gr.HTML("", elem_id="te_train_pictures"),
    )  # fmt: skip
    _connect_fields(services, panel)
    return panel


def connect(services: Services, panel: TrainPanel) -> tuple[Any, Any, Any]:
    """Make Train, Stop and Resume work; return their events, which others may follow."""
    by_widget = {widget: name for name, widget in panel.widgets.items()}

    @errors_in(panel.status)
    def start(values: dict[Any, Any]) -> dict[Any, Any]:
        spec = fields.read_spec({name: values[widget] for widget, name in by_widget.items()})
        services.runs.start(spec)
        remember(services, spec.to_json())
        return {panel.status: gr.update()}

    @errors_in(panel.status)
    def stop() -> dict[Any, Any]:
        state = services.runs.current()
        if state is not None and state.active:
            services.runs.stop(state.id)
        return {panel.status: gr.update()}

    @errors_in(panel.status)
    def resume() -> dict[Any, Any]:
        state = services.runs.latest()
        if state is not None:
            services.runs.resume(state.id)
        return {panel.status: gr.update()}

    started = panel.start.click(start, set(by_widget), [panel.status], **AT_ONCE)
    resumed = panel.resume.click(resume, [], [panel.status], **AT_ONCE)
    return started, panel.stop.click(stop, [], [panel.status], **AT_ONCE), resumed


def parts(services: Services, panel: TrainPanel) -> dict[str, tuple[Any, Callable[[], dict[Any, Any]]]]:
    """Return what a page shows of the current or the last run.

    Returns:
        For each part, its version and a function that makes its updates.
    """
    state = services.runs.latest()
    bar, status = html.progress(state), html.run_status(state)
    active = state is not None and state.active
    resumable = state is not None and state.resumable
    return {
        "progress": (bar, lambda: {panel.progress: bar}),
        "status": ((state.id if state else "", status), lambda: {panel.status: status}),
        "stop": (active, lambda: {panel.stop: gr.update(interactive=active)}),
        "resume": (resumable, lambda: {panel.resume: gr.update(interactive=resumable)}),
        "plot": (_newest_points(state), lambda: {panel.plot: gr.update(value=_frame(state))}),
        "gallery": (state.previews if state else (), lambda: {panel.gallery: _previews(state)}),
        "images": (_run_with_images(state), lambda: {panel.images: _image_report(services, state)}),
    }


def remembered(services: Services, panel: TrainPanel) -> dict[Any, Any]:
    """Return updates for a page that opens: the last used values that changed since the page was built."""
    values = fields.initial_values(services.settings.load())
    changed = [name for name in values if values[name] != panel.values[name]]
    return {panel.widgets[name]: gr.update(value=fields.widget_value(name, values[name])) for name in changed}


def advanced_groups() -> list[Group]:
    """Return the headings under "Advanced", in the order in which options are declared."""
    return list(dict.fromkeys(option.group for option in OPTIONS if option.advanced))


def _add_rows(widgets: dict[str, Any], rows: list[list[Option]], values: dict[str, Any]) -> None:
    for row in rows:
        with gr.Row():
            for option in row:
                widgets[option.name] = fields.make_widget(option, values[option.name])


def _connect_fields(services: Services, panel: TrainPanel) -> None:
    filled = list(fields.preset_updates(fields.DEFAULTS["preset"]))
    dataset, template = panel.widgets["dataset"], panel.widgets["template"]

    def fill_preset(preset: str) -> dict[Any, Any]:
        return {panel.widgets[name]: value for name, value in fields.preset_updates(preset).items()}

    def fill_template(choice: str) -> Any:
        lines = services.datasets.templates().get(choice)
        return gr.update() if lines is None else "\n".join(lines)

    @errors_in(panel.dataset_check)
    def check(folder: str, repeats: bool = False, masks: str = "none") -> dict[Any, Any]:
        report = services.datasets.inspect(folder.strip(), repeats, masks) if folder.strip() else None
        return {panel.dataset_check: "" if report is None else html.dataset(report)}

    panel.widgets["preset"].input(fill_preset, [panel.widgets["preset"]], [panel.widgets[name] for name in filled], **AT_ONCE)
    panel.template_choice.input(fill_template, [panel.template_choice], [template], **AT_ONCE)
    checked = [dataset, panel.widgets["repeats"], panel.widgets["masks"]]
    for event in (dataset.blur, dataset.submit, panel.widgets["repeats"].input, panel.widgets["masks"].input):
        event(check, checked, [panel.dataset_check], **AT_ONCE)


def _newest_points(state: RunState | None) -> tuple[object, ...]:
    return (*state.losses[-1:], *state.evaluations[-1:]) if state else ()


def _frame(state: RunState | None) -> Any:
    """Return the losses as a DataFrame for the plot; None, an empty plot, before the first."""
    if state is None or not (state.losses or state.evaluations):
        return None
    points = [(step, loss, t(html.TRAINING_LOSS)) for step, loss in state.losses]
    points += [(step, loss, t(html.EVALUATION_LOSS)) for step, _, loss in state.evaluations]
    pandas: Any = importlib.import_module("pandas")  # only here, because it takes a second
    return pandas.DataFrame(points, columns=[STEP, LOSS, CURVE])


def _run_with_images(state: RunState | None) -> str:
    """Return the id of the run if its images have been read, as far as its status tells; else an empty string."""
    return state.id if state is not None and state.status not in ("queued", "preparing") else ""


def _image_report(services: Services, state: RunState | None) -> str:
    if not _run_with_images(state):
        return ""
    assert state is not None
    try:
        return html.image_report(services.runs.images(state.id)) + html.start_words(state.start_words)
    except NotFound:  # the run ended before its images were read
        return ""


def _previews(state: RunState | None) -> list[tuple[Any, str]]:
    """Load the previews, because hosts serve files from few folders only; return each with its caption."""
    files = list(state.previews) if state else []
    chosen = files if len(files) <= SHOWN_PREVIEWS else [files[0], *files[1 - SHOWN_PREVIEWS :]]
    loaded = [(_load(file), _caption(file)) for file in chosen]
    return [(image, caption) for image, caption in loaded if image is not None]


def _load(file: Path) -> Any:
    """Load an image; None if it was removed or changed by someone."""
    try:
        return decode_preview(read_preview(file)).convert("RGB")
    except (OSError, UnreadableFile) as problem:
        logger.info("The preview %s is not shown: %s", file, problem)
        return None


def _caption(file: Path) -> str:
    number = re.search(r"(\d+)(?:-\d+)?$", file.stem)
    return t("step {step}", step=int(number[1])) if number else file.stem
