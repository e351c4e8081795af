"""Automatic captions in the Dataset panel: an interrogator of the host or a caption model of a folder, and the job's progress."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr
from markupsafe import Markup

from train_embedding.errors import InvalidInput, NotFound
from train_embedding.hosts.base import Interrogator
from train_embedding.messages import Message, msg, plural
from train_embedding.services import datasets
from train_embedding.services.typed_paths import typed_path
from train_embedding.translations import t
from train_embedding.ui import html
from train_embedding.ui.datasets import html as dataset_html
from train_embedding.ui.datasets.views import Views, needed, next_version, options_of, read_view
from train_embedding.ui.error_handling import errors_in, remember
from train_embedding.ui.gradio_compat import AT_ONCE
from train_embedding.ui.templates import render

if TYPE_CHECKING:
    from train_embedding.services import Services
    from train_embedding.services.datasets import CaptionJob, CaptionRequest, Existing
    from train_embedding.ui.datasets.panel import DatasetPanel

Updates = dict[Any, Any]
OF_A_FOLDER = msg("Model in a folder")
EXISTING: dict[Existing, Message] = {
    "keep": msg("Keep"),
    "append": msg("Append the new caption"),
    "replace": msg("Replace"),
}
REMEMBERED = "caption_model_folder"
"The setting that keeps the folder used last."
FRESH = 10.0
"Seconds for which the list of interrogators is kept."
_LISTED = 20
"Number of skipped images that are shown."


@dataclass(frozen=True)
class AutoCaptions:
    """The widgets."""

    model: gr.Dropdown
    folder: gr.Textbox
    existing: gr.Radio
    prefix: gr.Textbox
    filtered: gr.Checkbox
    generate: gr.Button
    stop: gr.Button
    problems: gr.HTML
    progress: gr.HTML


class Interrogators:
    """The host's interrogators, which are listed again after FRESH seconds."""

    def __init__(self, services: Services) -> None:
        self._host = services.host
        self._found: tuple[float, tuple[Interrogator, ...]] | None = None

    def read(self) -> tuple[Interrogator, ...]:
        """Return the interrogators, usable or not."""
        now = time.monotonic()
        if self._found is None or now - self._found[0] > FRESH:
            self._found = now, self._host.interrogators()
        return self._found[1]


def build(services: Services) -> AutoCaptions:
    """Add the widgets to the Blocks being built."""
    with gr.Accordion(t("Automatic captions"), open=False, elem_id="te_dataset_auto"):
        model = gr.Dropdown(
            choices=[t(OF_A_FOLDER)], value=t(OF_A_FOLDER), allow_custom_value=True, label=t("Caption model"),
            elem_id="te_dataset_auto_model",
        )  # fmt: skip
        problems = gr.HTML("", elem_id="te_dataset_auto_problems")
        folder = gr.Textbox(
            str(services.settings.load().get(REMEMBERED, "")), label=t("Caption model folder"), max_lines=1,
            info=t("On the computer that runs this program: BLIP, Florence-2, GIT or a WD14 tagger. Nothing is downloaded."),
            elem_id="te_dataset_auto_folder",
        )  # fmt: skip
        existing = gr.Radio(
            choices=[(t(label), kind) for kind, label in EXISTING.items()], value="keep", label=t("Existing captions"),
            elem_id="te_dataset_auto_existing",
        )  # fmt: skip
        prefix = gr.Textbox(
            "", label=t("Prefix"), info=t('For example "my-cat, ".'), max_lines=1, elem_id="te_dataset_auto_prefix"
        )
        filtered = gr.Checkbox(False, label=t("Only filtered images"), elem_id="te_dataset_auto_filtered")
        with gr.Row():
            generate = gr.Button(t("Generate captions"), variant="primary", size="sm", elem_id="te_dataset_auto_generate")
            stop = gr.Button(t("Stop"), variant="stop", size="sm", interactive=False, elem_id="te_dataset_auto_stop")
        progress = gr.HTML("", elem_id="te_dataset_auto_progress")
    return AutoCaptions(model, folder, existing, prefix, filtered, generate, stop, problems, progress)


def connect(services: Services, panel: DatasetPanel, views: Views, seen: Sequence[Any]) -> Any:
    """Make the buttons work; return the event after which the page polls.

    Args:
        services: Generate the captions.
        panel: The panel with the widgets.
        views: The checks of datasets.
        seen: The widgets of SEEN.
    """
    auto, opened = panel.auto, panel.hidden.opened

    @errors_in(auto.progress)
    def generate_captions(
        opened: str, request: str, model: str, folder: str, existing: Existing, prefix: str, only: bool, *seen: Any
    ) -> Updates:
        options = options_of(seen)
        images = dataset_html.matching(views.kept(needed(opened), options).check, read_view(request)[0])
        names = [image.name for image in images if not image.problem and not image.excluded]
        if only and not names:
            raise InvalidInput(msg("No filtered image has a caption that can be changed."))
        wanted = _request(services, model, folder, existing, prefix)
        job = services.datasets.generate_captions(opened, wanted, names if only else ())
        if wanted.model_folder is not None:
            remember(services, {REMEMBERED: folder})
        return {auto.progress: progress(job), auto.stop: gr.update(interactive=True)}

    @errors_in(auto.progress)
    def stop_captions() -> Updates:
        job = services.datasets.auto_captions.stop()
        return {auto.progress: progress(job) if job else ""}

    inputs = [opened, panel.view, auto.model, auto.folder, auto.existing, auto.prefix, auto.filtered, *seen]
    auto.stop.click(stop_captions, [], [auto.progress], **AT_ONCE)
    return auto.generate.click(generate_captions, inputs, [auto.progress, auto.stop], **AT_ONCE)


def parts(
    services: Services, panel: DatasetPanel, views: Views, interrogators: Interrogators
) -> dict[str, tuple[Any, Callable[[], Updates]]]:
    """Return what a poll updates: the list of interrogators, and the progress of the job."""
    auto, found, job = panel.auto, interrogators.read(), services.datasets.auto_captions.job
    usable = [t(one.label) for one in found if not one.problem]

    def show_interrogators() -> Updates:
        choices = [*usable, t(OF_A_FOLDER)]
        problems = [html.message("quiet", one.label, one.problem) for one in found if one.problem]
        return {auto.model: gr.update(choices=choices, value=choices[0]), auto.problems: Markup("").join(problems)}

    def show_job() -> Updates:
        if job is None:
            return {auto.progress: "", auto.stop: gr.update(interactive=False)}
        return {auto.progress: progress(job), auto.stop: gr.update(interactive=job.active)}

    def show_written() -> Updates:
        if job is None or not job.written:
            return {}
        with suppress(NotFound):  # the dataset was deleted since
            views.outdate(str(job.folder))
        return {panel.version: next_version()}

    version = None if job is None else (str(job.folder), job.status, job.done, job.written, len(job.skipped))
    # Captions are written every few seconds, and the dataset is read again only then.
    written = None if job is None else (str(job.folder), job.written, None if job.active else job.last)
    return {
        "interrogators": (tuple(usable), show_interrogators),
        "captions": (version, show_job),
        "written captions": (written, show_written),
    }


def outputs(panel: DatasetPanel) -> list[Any]:
    """Return the widgets that `parts` updates."""
    return [panel.auto.model, panel.auto.problems, panel.auto.progress, panel.auto.stop, panel.version]


def progress(job: CaptionJob) -> Markup:
    """Return the progress of a job, or how it ended."""
    percent = 100 * job.done / job.images if job.images else 100 * (not job.active)
    more = plural("and {count} more", "and {count} more", max(0, len(job.skipped) - _LISTED))
    problem = html.message("bad", job.problem, job.hint) if job.problem else ""
    return render("caption_job", job=job, text=_text(job), percent=f"{percent:.1f}", problem=problem, more=more)


def _text(job: CaptionJob) -> Message:
    if job.status == "waiting":
        return msg("waiting for the model")
    if job.status == "loading":
        return msg("loading the caption model")
    if job.status == "running":
        return msg("image {done} of {images}", done=job.done, images=job.images)
    if job.status == "stopping":
        return msg("stopping after this image")
    if job.status == "finished" and not job.images:
        return msg("every image already has a caption")
    return plural("{count} caption written", "{count} captions written", job.written)


def _request(services: Services, model: str, folder: str, existing: Existing, prefix: str) -> CaptionRequest:
    """Read the fields. Raises InvalidInput."""
    names = {t(one.label): one.name for one in services.host.interrogators()}
    if model in names:
        return datasets.CaptionRequest(names[model], existing=existing, prefix=prefix)
    if not folder.strip():
        raise InvalidInput(msg("No caption model is selected."), msg("Enter the folder of a model."))
    return datasets.CaptionRequest(model_folder=typed_path(folder), existing=existing, prefix=prefix)
