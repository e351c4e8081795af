"""The three steps of the sub-tab Train: the options of a run, its buttons, and its progress beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from train_embedding.engine.config import GROUP_LABELS, OPTIONS, Group, Option, TrainingSpec
from train_embedding.messages import msg
from train_embedding.services import datasets
from train_embedding.services.kinds import DECIDED, KINDS, Kind, kind_of, kind_values, used_values
from train_embedding.translations import t
from train_embedding.ui import fields, html, own_presets
from train_embedding.ui.error_handling import errors_in, remember
from train_embedding.ui.gradio_compat import AT_ONCE, MAJOR, dropdown
from train_embedding.ui.training import create, images, progress, states
from train_embedding.ui.training import html as path_html

if TYPE_CHECKING:
    from train_embedding.services import Services
    from train_embedding.ui.datasets.views import Views

CAPTIONS: Group = "Captions"
EMBEDDING, DATASET, TEACHER_PROMPT = "embedding", "dataset", "teacher_prompt"
_OWN_TEMPLATE = ""
"Stands in the choice of templates for the lines as they are."


@dataclass(frozen=True)
class States:
    """What the first and the third step say."""

    embedding: gr.HTML
    training: gr.HTML
    estimate: gr.HTML
    version: gr.Textbox
    "Hidden; changes when they may have changed without a change of a field."


@dataclass(frozen=True)
class TrainPanel:
    """The widgets of the sub-tab."""

    widgets: dict[str, Any]
    "The widget of each option of a run, in the order of OPTIONS."
    values: dict[str, Any]
    "The values they were built with."
    states: States
    create: create.CreatePanel
    images: images.ImagesStep
    kind: gr.Radio
    template_choice: gr.Dropdown
    start: gr.Button
    enqueue: gr.Button
    stop: gr.Button
    resume: gr.Button
    queue_line: gr.HTML
    status: gr.HTML
    progress: progress.RunProgress
    own_presets: own_presets.OwnPresets


@dataclass(frozen=True)
class _Buttons:
    start: gr.Button
    enqueue: gr.Button
    stop: gr.Button
    resume: gr.Button


def build(services: Services) -> TrainPanel:
    """Add the panel, with the last used values, to the Blocks being built."""
    values = fields.initial_values(services.settings.load())
    widgets: dict[str, Any] = {}
    with gr.Column(elem_classes=["te-hidden"]):
        version = gr.Textbox("", show_label=False, elem_id="te_train_version")
    with gr.Row(equal_height=False, elem_id="te_train_columns"):
        with gr.Column(scale=6, min_width=400, elem_id="te_train_path"):
            with gr.Column(elem_id="te_step_embedding", elem_classes=["te-step"]):
                gr.HTML(path_html.step_heading(1, msg("Embedding")))
                embedding_state = gr.HTML(_first_state(values), elem_id="te_step_embedding_state")
                widgets[EMBEDDING] = fields.make_widget(fields.BY_NAME[EMBEDDING], values[EMBEDDING])
                kind = _build_kind(values)
                creation = create.build(services, is_open=not values[EMBEDDING])
            images_step = images.build(values)
            widgets[DATASET], widgets[TEACHER_PROMPT] = images_step.dataset, images_step.prompt
            with gr.Column(elem_id="te_step_training", elem_classes=["te-step"]):
                gr.HTML(path_html.step_heading(3, msg("Train")))
                training_state = gr.HTML("", elem_id="te_step_training_state")
                shown = [option for option in OPTIONS if not option.advanced and option.name not in widgets]
                _add_rows(widgets, fields.rows_of(shown), values)
                estimate = gr.HTML("", elem_id="te_train_estimate")
                buttons = _build_buttons()
                queue_line = gr.HTML("", elem_id="te_train_queue")
                status = gr.HTML("", elem_id="te_train_status")
                presets = own_presets.build(services, values)
                template_choice = _build_advanced(services, widgets, values)
        with gr.Column(scale=5, min_width=320, elem_id="te_train_run"):
            gr.HTML(html.panel_title(msg("Progress")))
            shown_run = progress.build()
    widgets = {option.name: widgets[option.name] for option in OPTIONS}
    panel = TrainPanel(
        widgets, values, States(embedding_state, training_state, estimate, version), creation, images_step, kind, template_choice,
        buttons.start, buttons.enqueue, buttons.stop, buttons.resume, queue_line, status, shown_run, presets,
    )  # fmt: skip
    _connect_fields(services, panel)
    for event in own_presets.connect(services, presets, widgets):
        event.then(show_kind, [kind, *_decided(panel)], [kind], **AT_ONCE)
    return panel


def connect(services: Services, panel: TrainPanel, views: Views) -> tuple[Any, Any, Any]:
    """Make Train, Stop and Resume work, and what the steps say; return the events of the buttons, which others may follow."""
    new_name, opened = panel.create.name, panel.states.version
    images.connect(services, panel.images, views, panel.widgets, panel.kind, new_name, opened)
    _connect_states(services, panel)

    @errors_in(panel.status)
    def start(values: dict[Any, Any]) -> dict[Any, Any]:
        spec = read_spec(panel, values)
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

    started = panel.start.click(start, spec_inputs(panel), [panel.status], **AT_ONCE)
    resumed = panel.resume.click(resume, [], [panel.status], **AT_ONCE)
    return started, panel.stop.click(stop, [], [panel.status], **AT_ONCE), resumed


def parts(services: Services, panel: TrainPanel) -> dict[str, tuple[Any, Callable[[], dict[Any, Any]]]]:
    """Return what a page shows of the current or the last run.

    Returns:
        For each part, its version and a function that makes its updates.
    """
    state = services.runs.latest()
    status = html.run_status(state)
    active = state is not None and state.active
    resumable = state is not None and state.resumable
    names = services.datasets.names()
    version = "no run" if state is None else f"{state.id} {state.status}"  # a page that opens has ""
    return {
        **progress.parts(services, panel.progress, state),
        "status": ((state.id if state else "", status), lambda: {panel.status: status}),
        "stop": (active, lambda: {panel.stop: gr.update(interactive=active)}),
        "resume": (resumable, lambda: {panel.resume: gr.update(interactive=resumable)}),
        "datasets": (names, lambda: {panel.images.dataset: gr.update(choices=names)}),
        "states": (version, lambda: {panel.states.version: version}),
        **own_presets.parts(services, panel.own_presets),
    }


def polled_widgets(panel: TrainPanel) -> Sequence[Any]:
    """Return the widgets that the poll updates, besides those of options."""
    run = panel.progress
    return [
        run.bar, run.plot, run.gallery, run.images, panel.status, panel.stop, panel.resume, panel.queue_line, panel.kind,
        panel.states.version, panel.own_presets.choice, panel.own_presets.changed,
    ]  # fmt: skip


def show_states(services: Services, panel: TrainPanel) -> tuple[Callable[..., dict[Any, Any]], set[Any], list[Any]]:
    """Return a handler that shows what the first and the third step say, its inputs and its outputs."""
    on = panel.states
    show = states.shower(services, panel.widgets, panel.kind, on.embedding, on.training, on.estimate)
    return show, spec_inputs(panel), [on.embedding, on.training, on.estimate]


def spec_inputs(panel: TrainPanel) -> set[Any]:
    """Return the widgets that `read_spec` needs."""
    return {panel.kind, *panel.widgets.values()}


def read_spec(panel: TrainPanel, values: dict[Any, Any]) -> TrainingSpec:
    """Build the spec from the values of `spec_inputs`, without what the kind does not use.

    Raises:
        InvalidInput: Something is missing or not allowed; the message names the widget's label.
    """
    raw = {name: values[widget] for name, widget in panel.widgets.items()}
    return fields.read_spec(used_values(values[panel.kind], raw), packs=values[panel.kind] == "prompt")


def remembered(services: Services, panel: TrainPanel) -> dict[Any, Any]:
    """Return updates for a page that opens: the last used values that changed since the page was built."""
    values = fields.initial_values(services.settings.load())
    changed = [name for name in values if values[name] != panel.values[name]]
    filled = {panel.widgets[name]: gr.update(value=fields.widget_value(name, values[name])) for name in changed}
    kind: dict[Any, Any] = {}
    if kind_of(values) != kind_of(panel.values):
        kind[panel.kind] = gr.update(value=kind_of(values))
    return {**filled, **kind, **own_presets.changed_settings(panel.own_presets, values)}


def follow_filling(services: Services, panel: TrainPanel, event: Any) -> None:
    """Show the kind, and which settings differ from the preset, after an event that fills in the fields."""
    mark, inputs = own_presets.marker(services, panel.own_presets, panel.widgets)
    event.then(mark, inputs, [panel.own_presets.changed], **AT_ONCE)
    sources = [panel.widgets[DATASET], panel.widgets[TEACHER_PROMPT]]

    def show_filled_kind(dataset: str | None, teacher_prompt: str, *decided: str) -> Kind | None:
        return fields.kind_of_widgets(decided, dataset=dataset, teacher_prompt=teacher_prompt)

    event.then(show_filled_kind, [*sources, *_decided(panel)], [panel.kind], **AT_ONCE)


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
    template, dataset = panel.widgets["template"], panel.widgets[DATASET]

    def fill_preset(preset: str) -> dict[Any, Any]:
        return {panel.widgets[name]: value for name, value in fields.preset_updates(preset).items()}

    def fill_template(choice: str) -> Any:
        lines = services.datasets.templates().get(choice)
        return gr.update() if lines is None else "\n".join(lines)

    def fill_kind(kind: Kind | None) -> dict[Any, Any]:
        if kind is None:
            return {template: gr.update()}
        if kind == "prompt":
            return {dataset: gr.update(value=None)}
        return {panel.widgets[name]: fields.widget_value(name, value) for name, value in kind_values(kind).items()}

    def use_images(kind: Kind | None, chosen: str | None, *decided: str) -> Any:
        return fields.kind_of_widgets(decided) if kind == "prompt" and chosen else gr.update()

    decided = _decided(panel)
    mark, marked = own_presets.marker(services, panel.own_presets, panel.widgets)
    filling = panel.kind.input(fill_kind, [panel.kind], [dataset, *decided], **AT_ONCE)
    filling.then(mark, marked, [panel.own_presets.changed], **AT_ONCE)
    panel.kind.change(images.show_source, [panel.kind], [panel.images.with_images, panel.images.with_prompt], **AT_ONCE)
    dataset.change(use_images, [panel.kind, dataset, *decided], [panel.kind], **AT_ONCE)
    for widget in decided:
        widget.blur(show_kind, [panel.kind, *decided], [panel.kind], **AT_ONCE)
    panel.widgets["preset"].input(fill_preset, [panel.widgets["preset"]], [panel.widgets[name] for name in filled], **AT_ONCE)
    panel.template_choice.input(fill_template, [panel.template_choice], [template], **AT_ONCE)


def _connect_states(services: Services, panel: TrainPanel) -> None:
    show, inputs, outputs = show_states(services, panel)
    changing = [panel.states.version, panel.kind, *(panel.widgets[name] for name in (EMBEDDING, DATASET, *states.ESTIMATED))]
    for widget in changing:
        widget.change(show, inputs, outputs, **AT_ONCE)
    for name in (EMBEDDING, DATASET) if MAJOR < 4 else ():  # gradio 3 reports a name while it is typed, but not its end
        panel.widgets[name].blur(show, inputs, outputs, **AT_ONCE)


def show_kind(kind: Kind | None, *decided: str) -> Kind | None:
    """Return the kind that the widgets of `_decided` show; a prompt to pack stays one, whatever they show."""
    return kind if kind == "prompt" else fields.kind_of_widgets(decided)


def _decided(panel: TrainPanel) -> list[Any]:
    """Return the widgets of the options that a kind decides."""
    return [panel.widgets[name] for name in DECIDED]


def _first_state(values: dict[str, Any]) -> Any:
    """Return the state of the first step before the library was read."""
    name = values[EMBEDDING]
    return path_html.state("open", msg("{name}: not checked yet.", name=name) if name else states.NO_EMBEDDING)


def _build_kind(values: dict[str, Any]) -> gr.Radio:
    return gr.Radio(
        choices=[(t(label), kind) for kind, label in KINDS.items()], value=kind_of(values), label=t("What it stands for"),
        info=t(
            "Sets the caption lines and the prompts of the previews. A negative embedding is used in negative prompts; a long "
            "prompt is packed into a short trigger word, without images."
        ),
        elem_id="te_train_kind",
    )  # fmt: skip


def _build_buttons() -> _Buttons:
    with gr.Row(elem_id="te_train_buttons"):
        start = gr.Button(t("Train now"), variant="primary", min_width=110, elem_id="te_train_button")
        enqueue = gr.Button(t("Add to queue"), min_width=110, elem_id="te_train_enqueue")
        stop = gr.Button(t("Stop"), interactive=False, min_width=80, elem_id="te_train_stop")
        resume = gr.Button(t(html.RESUME), interactive=False, min_width=80, elem_id="te_train_resume")
        # the script opens the run in the sub-tab Runs
        gr.Button(t("Compare steps"), min_width=110, elem_id="te_train_compare")
    return _Buttons(start, enqueue, stop, resume)


def _build_advanced(services: Services, widgets: dict[str, Any], values: dict[str, Any]) -> gr.Dropdown:
    """Add the advanced options in groups, each of which is opened by itself; return the choice of caption templates."""
    names = datasets.find_templates(services.host.info())
    template_choice = dropdown(
        [(t("(the lines below)"), _OWN_TEMPLATE), *((name, name) for name in names)],
        _OWN_TEMPLATE,
        label=t("Caption template"),
        info=t("Fills in the lines below."),
        elem_id="te_train_template_choice",
        render=False,
    )
    with gr.Column(elem_id="te_train_advanced"):
        gr.HTML(html.heading(msg("Advanced settings")))
        for group in advanced_groups():
            with gr.Accordion(t(GROUP_LABELS[group]), open=False, elem_id=f"te_train_group_{group.lower().replace(' ', '_')}"):
                if group == CAPTIONS:
                    template_choice.render()
                rows = fields.rows_of(option for option in OPTIONS if option.advanced and option.group == group)
                _add_rows(widgets, rows, values)
    return template_choice
