"""The second step: a dataset, a strip of its images, and images that are dropped right there; or a prompt to pack."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from train_embedding.errors import TrainEmbeddingError
from train_embedding.messages import msg
from train_embedding.services.kinds import Kind, kind_of
from train_embedding.translations import t
from train_embedding.ui import fields, html
from train_embedding.ui.datasets.html import added_message
from train_embedding.ui.datasets.uploads import read_uploads
from train_embedding.ui.datasets.views import SEEN, Reading, Views, options_of
from train_embedding.ui.error_handling import errors_in
from train_embedding.ui.gradio_compat import AT_ONCE, event_of_leaving, upload_button
from train_embedding.ui.training import html as path_html

if TYPE_CHECKING:
    from markupsafe import Markup

    from train_embedding.services import Services

Updates = dict[Any, Any]
UNNAMED = "images"
"Name of the dataset of dropped images if neither an embedding nor a name is given."

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImagesStep:
    """The widgets of the step."""

    state: gr.HTML
    with_images: gr.Column
    "What is shown unless a prompt is packed."
    with_prompt: gr.Column
    "What is shown if a prompt is packed."
    dataset: gr.Dropdown
    prompt: gr.Textbox
    "The prompt to pack."
    upload: gr.UploadButton
    open: gr.Button
    "Opens the dataset on the sub-tab Dataset."
    strip: gr.HTML
    status: gr.HTML
    uploaded: gr.Textbox
    "Hidden; the script writes the names of uploaded files here."
    again: gr.Button
    "Hidden; the script clicks it while images are examined."


def build(values: Mapping[str, Any]) -> ImagesStep:
    """Add the step, with the last used values of the options, to the Blocks being built."""
    kind = kind_of(values)
    with gr.Column(elem_id="te_step_images", elem_classes=["te-step"]):
        gr.HTML(path_html.step_heading(2, msg("Images")))
        state = gr.HTML(_state(kind, values["dataset"], values["teacher_prompt"]), elem_id="te_step_images_state")
        with gr.Column(visible=kind == "prompt") as with_prompt:
            prompt = fields.make_widget(fields.BY_NAME["teacher_prompt"], values["teacher_prompt"])
        with gr.Column(visible=kind != "prompt") as with_images:
            dataset = fields.make_widget(fields.BY_NAME["dataset"], values["dataset"])
            with gr.Row(elem_classes=["te-line"], elem_id="te_train_check_row"):
                with gr.Row(elem_id="te_train_upload"):
                    upload = upload_button(t("Add images"), file_count="multiple", size="sm", elem_id="te_train_add")
                opens = gr.Button(t("Open in Dataset"), size="sm", elem_id="te_train_check")
            status = gr.HTML("", elem_id="te_train_images_status")
            strip = gr.HTML("", elem_id="te_train_dataset_check")
    with gr.Column(elem_classes=["te-hidden"]):
        uploaded = gr.Textbox("", show_label=False, elem_id="te_train_uploaded")
        again = gr.Button("Show the images", elem_id="te_train_images_again")
    return ImagesStep(state, with_images, with_prompt, dataset, prompt, upload, opens, strip, status, uploaded, again)


def show_source(kind: Kind | None) -> tuple[Any, Any]:
    """Return updates of what is shown with images, and of what is shown with a prompt to pack."""
    return gr.update(visible=kind != "prompt"), gr.update(visible=kind == "prompt")


def connect(
    services: Services,
    step: ImagesStep,
    views: Views,
    widgets: Mapping[str, Any],
    kind: gr.Radio,
    new_name: gr.Textbox,
    opened: gr.Textbox,
) -> None:
    """Make the step work.

    Args:
        services: Have the datasets.
        step: The step.
        views: The checks of datasets.
        widgets: The widget of each option of a run.
        kind: What the embedding stands for.
        new_name: The name of the embedding that is about to be created.
        opened: Changes when a page opens.
    """
    show = shower(services, step, views)
    inputs = show_inputs(widgets, kind)
    outputs = [step.strip, step.state]

    @errors_in(step.status)
    def add_training_images(files: Any, names: str, dataset: str | None, embedding: str | None, new_name: str) -> Updates:
        uploads = read_uploads(files, names)
        known = services.datasets.names()
        name = dataset or (embedding or new_name).strip() or UNNAMED
        if dataset or name in known:
            added = services.datasets.add(name, uploads)
            views.outdate(str(added.folder))
        else:
            added = services.datasets.create(name, uploads)
        chosen = gr.update(choices=services.datasets.names(), value=name)
        return {step.dataset: chosen, step.status: added_message(added)}

    sent = [step.upload, step.uploaded, step.dataset, widgets["embedding"], new_name]
    added = step.upload.upload(add_training_images, sent, [step.dataset, step.status], **AT_ONCE)
    added.then(show, inputs, outputs, **AT_ONCE)
    for event in (opened.change, kind.change, step.dataset.change, step.again.click, step.prompt.blur):
        event(show, inputs, outputs, **AT_ONCE)
    for name in ("width", "height", "template"):
        event_of_leaving(widgets[name])(show, inputs, outputs, **AT_ONCE)
    for name in ("buckets", "resize_mode", "masks", "repeats"):
        widgets[name].input(show, inputs, outputs, **AT_ONCE)


def show_inputs(widgets: Mapping[str, Any], kind: gr.Radio) -> list[Any]:
    """Return the widgets whose values `shower` needs."""
    return [kind, widgets["dataset"], widgets["teacher_prompt"], *(widgets[name] for name in SEEN)]


def shower(services: Services, step: ImagesStep, views: Views) -> Callable[..., Updates]:
    """Return a handler that shows the strip of images, and the state of the step."""

    def show_images(kind: Kind | None, dataset: str | None, teacher_prompt: str, *seen: Any) -> Updates:
        folder = (dataset or "").strip()
        if kind == "prompt" or not folder:
            return {step.strip: "", step.state: _state(kind, "", teacher_prompt)}
        try:
            return _shown(services, step, views, folder, seen)
        except TrainEmbeddingError as problem:
            return {
                step.strip: html.error(problem),
                step.state: path_html.state("bad", msg("This dataset cannot be used.")),
            }

    return show_images


def _shown(services: Services, step: ImagesStep, views: Views, folder: str, seen: tuple[Any, ...]) -> Updates:
    view = views.due(folder, options_of(seen))
    if isinstance(view, Reading):
        waiting = path_html.state("open", msg("Reading the images"))
        return {step.strip: path_html.reading(view.done, view.total), step.state: waiting}
    if not view.check.used:
        options = view.check.options
        services.datasets.inspect(folder, options.repeats, options.masks)  # raises an error that says why
    images = view.check.used[: path_html.SHOWN_IMAGES]
    thumbnails = services.datasets.thumbnails(images)
    services.datasets.measure_first([image for image in images if image.name not in thumbnails])
    strip = path_html.strip(view.check, thumbnails, pending=bool(views.to_examine(view)))
    return {step.strip: strip, step.state: path_html.images_state(view.check)}


def _state(kind: Kind | None, dataset: str, teacher_prompt: str) -> Markup:
    """Return the state of the step before its dataset was looked at."""
    if kind == "prompt" and not teacher_prompt.strip():
        return path_html.state("open", msg("No images are needed. Enter the prompt to pack."))
    if kind == "prompt":
        return path_html.state("done", msg("No images are needed: a prompt is packed."))
    if dataset:
        return path_html.state("open", msg("{name}: not checked yet.", name=Path(dataset).name))
    return path_html.state("open", msg("Choose a dataset, or drop images here."))
