"""The Train panel: what to train on, how, and how it goes."""

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
from train_embedding.services.sidecars import decode_preview, read_preview
from train_embedding.ui import fields, html
from train_embedding.ui.error_handling import errors_in, remember
from train_embedding.ui.gradio_compat import AT_ONCE, gallery, line_plot

if TYPE_CHECKING:
    from train_embedding.services import Services
    from train_embedding.services.training import RunState

logger = logging.getLogger(__name__)

CAPTIONS: Group = "Captions"
SHOWN_PREVIEWS = 12
"Images in the gallery: the first one and the newest."
TRAINING, EVALUATION = "training loss", "evaluation loss (fixed noise)"
"The curves of the plot."
_OWN_TEMPLATE = "(as below)"


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
    pictures: gr.HTML


def build(services: Services) -> TrainPanel:
    """Make the panel, with the values that were used last."""
    values = fields.initial_values(services.settings.load())
    widgets: dict[str, Any] = {}
    gr.HTML("<h3 class='te-title'>Train</h3>")
    first, *others = fields.rows_of(option for option in OPTIONS if not option.advanced)
    _add_rows(widgets, [first], values)
    dataset_check = gr.HTML("", elem_id="te_train_dataset_check")
    _add_rows(widgets, others, values)
    template_choice = gr.Dropdown(
        choices=[_OWN_TEMPLATE, *services.datasets.templates()], value=_OWN_TEMPLATE, label="Caption template",
        info="Fills in the lines below.", elem_id="te_train_template_choice", render=False,
    )  # fmt: skip
    with gr.Accordion("Advanced", open=False, elem_id="te_train_advanced"):
        for group in advanced_groups():
            gr.HTML(f"<h4 class='te-heading'>{GROUP_LABELS[group]}</h4>")
            if group == CAPTIONS:
                template_choice.render()
            rows = fields.rows_of(option for option in OPTIONS if option.advanced and option.group == group)
            _add_rows(widgets, rows, values)
    with gr.Row():
        start = gr.Button("Train", variant="primary", elem_id="te_train_button")
        stop = gr.Button("Stop", interactive=False, elem_id="te_train_stop")
        resume = gr.Button("Resume", interactive=False, elem_id="te_train_resume")
    panel = TrainPanel(
        widgets, values, dataset_check, template_choice, start, stop, resume,
        progress=gr.HTML(html.progress(None), elem_id="te_train_progress"),
        status=gr.HTML("", elem_id="te_train_status"),
        plot=line_plot(x="step", y="loss", color="of", label="Loss", elem_id="te_train_plot"),
        gallery=gallery(label="Previews", columns=4, height=240, object_fit="contain", elem_id="te_train_gallery"),
        pictures=gr.HTML("", elem_id="te_train_pictures"),
    )  # fmt: skip
    _connect_fields(services, panel)
    return panel


def connect(services: Services, panel: TrainPanel) -> tuple[Any, Any, Any]:
    """Makes Train, Stop and Resume work. Returns their events, for what should follow."""
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
    """What a page shows of the run under way or the last one: part to (version, its updates)."""
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
        "gallery": (state.previews if state else (), lambda: {panel.gallery: _pictures(state)}),
        "pictures": (_read_pictures_of(state), lambda: {panel.pictures: _report(services, state)}),
    }


def remembered(services: Services, panel: TrainPanel) -> dict[Any, Any]:
    """For a page that opens: the last used values, where they are no longer those that the page was built with."""
    values = fields.initial_values(services.settings.load())
    changed = [name for name in values if values[name] != panel.values[name]]
    return {panel.widgets[name]: gr.update(value=fields.widget_value(name, values[name])) for name in changed}


def advanced_groups() -> list[Group]:
    """Return the headings under Advanced, in the order in which options are declared."""
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
    looked_at = [dataset, panel.widgets["repeats"], panel.widgets["masks"]]
    for event in (dataset.blur, dataset.submit, panel.widgets["repeats"].input, panel.widgets["masks"].input):
        event(check, looked_at, [panel.dataset_check], **AT_ONCE)


def _newest_points(state: RunState | None) -> tuple[object, ...]:
    return (*state.losses[-1:], *state.evaluations[-1:]) if state else ()


def _frame(state: RunState | None) -> Any:
    """The losses as gradio's plots want them; None where there are none yet, which is drawn as an empty plot."""
    if state is None or not (state.losses or state.evaluations):
        return None
    points = [(step, loss, TRAINING) for step, loss in state.losses]
    points += [(step, loss, EVALUATION) for step, _, loss in state.evaluations]
    pandas: Any = importlib.import_module("pandas")  # only here, since it takes a second
    return pandas.DataFrame(points, columns=["step", "loss", "of"])


def _read_pictures_of(state: RunState | None) -> str:
    """The run whose pictures have been read, as far as its state tells."""
    return state.id if state is not None and state.status not in ("queued", "preparing") else ""


def _report(services: Services, state: RunState | None) -> str:
    if not _read_pictures_of(state):
        return ""
    assert state is not None
    try:
        return html.pictures(services.runs.images(state.id))
    except NotFound:  # it ended before they were read
        return ""


def _pictures(state: RunState | None) -> list[tuple[Any, str]]:
    """The previews as pictures, not as paths: hosts serve files from few folders only."""
    files = list(state.previews) if state else []
    chosen = files if len(files) <= SHOWN_PREVIEWS else [files[0], *files[1 - SHOWN_PREVIEWS :]]
    loaded = [(_load(file), _caption(file)) for file in chosen]
    return [one for one in loaded if one[0] is not None]


def _load(file: Path) -> Any:
    """The picture; None where somebody has removed or changed it."""
    try:
        return decode_preview(read_preview(file)).convert("RGB")
    except (OSError, UnreadableFile) as problem:
        logger.info("The preview %s is not shown: %s", file, problem)
        return None


def _caption(file: Path) -> str:
    number = re.search(r"(\d+)(?:-\d+)?$", file.stem)
    return f"step {int(number[1])}" if number else file.stem
