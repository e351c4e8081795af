"""The editor of the Dataset panel for the crop and the mask of the selected image, and crops of many images."""

from __future__ import annotations

import base64
import binascii
import itertools
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import gradio as gr

from train_embedding.errors import InvalidInput, NotFound, TrainEmbeddingError
from train_embedding.messages import NOTHING, Message, msg, plural
from train_embedding.translations import t
from train_embedding.ui import html
from train_embedding.ui.datasets import html as dataset_html
from train_embedding.ui.datasets.views import Views, needed, next_version, options_of, read_view
from train_embedding.ui.error_handling import errors_in
from train_embedding.ui.gradio_compat import AT_ONCE
from train_embedding.ui.library.cards import printable
from train_embedding.ui.templates import render

if TYPE_CHECKING:
    from markupsafe import Markup

    from train_embedding.services import Services
    from train_embedding.services.datasets import CheckOptions, CropJob
    from train_embedding.ui.datasets.panel import DatasetPanel

Updates = dict[Any, Any]
SIDE = 1024
"Longest side in pixels of the image and the mask in the editor."
MAX_REQUEST = 12 * 2**20
"Most characters of a request of the script; a mask in base64 is at most a little smaller."
_PNG, _JPEG = "data:image/png;base64,", "data:image/jpeg;base64,"
_SIDES = (("left", msg("Left")), ("top", msg("Top")), ("width", msg("Width")), ("height", msg("Height")))
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Editor:
    """The widgets."""

    open: gr.Button
    area: gr.HTML
    filtered: gr.Checkbox
    centre: gr.Button
    stop: gr.Button
    progress: gr.HTML
    reset: gr.Button
    undo: gr.Button
    request: gr.Textbox
    "Hidden; JSON of the script: what to do with the image in the editor."
    apply: gr.Button
    "Hidden; the script then clicks it."


@dataclass(frozen=True)
class _Request:
    """What the script wants for the image in the editor."""

    action: str
    image: str
    values: dict[str, Any]

    @property
    def mode(self) -> str:
        return "mask" if self.action in ("mask", "remove_mask", "foreground", "undo_mask") else "crop"


def build() -> tuple[gr.Button, gr.HTML, gr.Textbox, gr.Button]:
    """Add the editor of one image to the Blocks being built."""
    opened = gr.Button(t("Crop and mask"), size="sm", elem_id="te_dataset_edit")
    area = gr.HTML("", elem_id="te_dataset_editor")
    with gr.Column(elem_classes=["te-hidden"]):
        request = gr.Textbox("", show_label=False, elem_id="te_dataset_edited")
        apply = gr.Button("Change the crop or mask", elem_id="te_dataset_edit_apply")
    return opened, area, request, apply


def build_all() -> tuple[gr.Checkbox, gr.Button, gr.Button, gr.HTML, gr.Button, gr.Button]:
    """Add the widgets for the crops of many images to the Blocks being built."""
    with gr.Accordion(t("Crops of all images"), open=False, elem_id="te_dataset_crops"):
        filtered = gr.Checkbox(False, label=t("Only filtered images"), elem_id="te_dataset_crops_filtered")
        with gr.Row():
            centre = gr.Button(t("Centre on faces or subjects"), size="sm", elem_id="te_dataset_crops_centre")
            stop = gr.Button(t("Stop"), variant="stop", size="sm", interactive=False, elem_id="te_dataset_crops_stop")
        progress = gr.HTML("", elem_id="te_dataset_crops_progress")
        with gr.Row():
            reset = gr.Button(t("Use whole images"), size="sm", elem_id="te_dataset_crops_reset")
            undo = gr.Button(t("Undo crop change"), size="sm", elem_id="te_dataset_crops_undo")
    return filtered, centre, stop, progress, reset, undo


def connect(services: Services, panel: DatasetPanel, views: Views, seen: Sequence[Any]) -> Any:
    """Make the editor work; return the event after which the page polls.

    Args:
        services: Change crops and masks.
        panel: The panel that has the editor.
        views: The checks of datasets.
        seen: The widgets of SEEN.
    """
    _connect_image(services, panel, views, seen)
    return _connect_all(services, panel, views, seen)


def _connect_image(services: Services, panel: DatasetPanel, views: Views, seen: Sequence[Any]) -> None:
    editor, opened = panel.editor, panel.hidden.opened

    @errors_in(panel.status)
    def open_editor(opened: str, current: str, *seen: Any) -> Updates:
        if not current:
            raise InvalidInput(msg("No image is selected."), msg("Click one in the list first."))
        return {editor.area: _area(services, needed(opened), current, options_of(seen)), panel.status: ""}

    @errors_in(panel.status)
    def edit_image(opened: str, text: str, *seen: Any) -> Updates:
        request, options = _read_request(text), options_of(seen)
        if request.action == "foreground":
            proposed = services.datasets.masks.foreground(needed(opened), request.image)
            note = html.message("good", msg("The mask is not saved yet. Correct it, then save it."))
            return {editor.area: _area(services, opened, request.image, options, "mask", proposed), panel.status: note}
        text, more = _change(services, needed(opened), request, options)
        views.changed(opened, options, frozenset([request.image]))
        return {
            editor.area: _area(services, opened, request.image, options, request.mode),
            panel.status: html.message("good", text, more),
            panel.version: next_version(),
        }

    changed = [editor.area, panel.status, panel.version]
    editor.open.click(open_editor, [opened, panel.captions.current, *seen], changed[:2], **AT_ONCE)
    editor.apply.click(edit_image, [opened, editor.request, *seen], changed, **AT_ONCE)


def _connect_all(services: Services, panel: DatasetPanel, views: Views, seen: Sequence[Any]) -> Any:
    editor, opened = panel.editor, panel.hidden.opened

    @errors_in(editor.progress)
    def centre_crops(opened: str, request: str, only: bool, *seen: Any) -> Updates:
        folder = services.datasets.check_folder(needed(opened))
        names = chosen(opened, request, only, seen)
        job = services.datasets.crop_jobs.start(folder, names, options_of(seen))
        return {editor.area: "", editor.progress: progress(services, job), editor.stop: gr.update(interactive=True)}

    @errors_in(editor.progress)
    def stop_centring() -> Updates:
        job = services.datasets.crop_jobs.stop()
        return {editor.progress: progress(services, job) if job else ""}

    @errors_in(panel.status)
    def reset_crops(opened: str, request: str, only: bool, *seen: Any) -> Updates:
        changed = services.datasets.crops.clear(needed(opened), chosen(opened, request, only, seen))
        return after(opened, changed.images)

    @errors_in(panel.status)
    def undo_crops(opened: str) -> Updates:
        changed = services.datasets.crops.undo(needed(opened))
        return after(opened, changed.images, changed.note)

    def chosen(opened: str, request: str, only: bool, seen: Sequence[Any]) -> list[str]:
        """Return the images that are changed; none for all."""
        if not only:
            return []
        images = dataset_html.matching(views.kept(opened, options_of(seen)).check, read_view(request)[0])
        names = [image.name for image in images if not image.problem]
        if not names:
            raise InvalidInput(msg("No filtered image can be cropped."))
        return names

    def after(opened: str, images: Sequence[str], *notes: Message) -> Updates:
        views.outdate(opened)
        text = plural("{count} crop changed.", "{count} crops changed.", len(images))
        return {
            editor.area: "", editor.progress: "", panel.status: html.message("good", text, *notes),
            panel.version: next_version(),
        }  # fmt: skip

    changed = [editor.area, editor.progress, panel.status, panel.version]
    inputs = [opened, panel.view, editor.filtered, *seen]
    editor.stop.click(stop_centring, [], [editor.progress], **AT_ONCE)
    editor.reset.click(reset_crops, inputs, changed, **AT_ONCE)
    editor.undo.click(undo_crops, [opened], changed, **AT_ONCE)
    return editor.centre.click(centre_crops, inputs, [editor.area, editor.progress, editor.stop], **AT_ONCE)


def parts(services: Services, panel: DatasetPanel, views: Views) -> dict[str, tuple[Any, Callable[[], Updates]]]:
    """Return what a poll updates: the progress of centring crops, and the images once it has ended."""
    editor, job = panel.editor, services.datasets.crop_jobs.job

    def show_job() -> Updates:
        shown = "" if job is None else progress(services, job)
        return {editor.progress: shown, editor.stop: gr.update(interactive=job is not None and job.active)}

    def show_changed() -> Updates:
        if job is None or job.changed is None:
            return {}
        with suppress(NotFound):  # the dataset was deleted since
            views.outdate(str(job.folder))
        return {panel.version: next_version()}

    version = None if job is None else (str(job.folder), job.status, job.done)
    return {"crops": (version, show_job), "centred crops": (None if job is None else job.changed, show_changed)}


def outputs(panel: DatasetPanel) -> list[Any]:
    """Return the widgets that `parts` updates, besides the version of the panel."""
    return [panel.editor.progress, panel.editor.stop]


def progress(services: Services, job: CropJob) -> Markup:
    """Return the progress of centring crops, or how it ended."""
    percent = 100 * job.done / job.images if job.images else 0
    text = msg("image {done} of {images}", done=job.done, images=job.images)
    if job.status == "stopping":
        text = msg("stopping after this image")
    elif not job.images:
        text = msg("finding the images")
    return render("crop_job", job=job, text=text, percent=f"{percent:.1f}", ended=_ended(services, job))


def _ended(services: Services, job: CropJob) -> Markup | str:
    if job.problem:
        return html.message("bad", job.problem, job.hint)
    if job.changed is None:
        return html.message("quiet", msg("Stopped. No crop was changed."))
    text = plural("{count} crop changed.", "{count} crops changed.", len(job.changed.images))
    return html.message("good", text, job.changed.note, services.datasets.crops.faces_problem())


def _change(services: Services, opened: str, request: _Request, options: CheckOptions) -> tuple[Message, Message]:
    """Do what the script wants; return what was done. Raises TrainEmbeddingError."""
    crops, masks, image = services.datasets.crops, services.datasets.masks, request.image
    match request.action:
        case "crop":
            crops.set_sides(opened, image, _crop_of(request.values))
            return msg("Saved the crop of {name}.", name=image), NOTHING
        case "centre":
            return crops.centre(opened, [image], options).note, crops.faces_problem()
        case "undo_crop":
            changed = crops.undo(opened)
            return plural("{count} crop changed.", "{count} crops changed.", len(changed.images)), changed.note
        case "mask":
            written = masks.write(opened, image, _png_of(request.values), replace=request.values.get("replace") is True)
            return msg("Saved the mask of {name}.", name=image), _in_trash(written.in_trash)
        case "remove_mask":
            return _in_trash(masks.remove(opened, [image]).in_trash), NOTHING
        case "undo_mask":
            undone = masks.undo(opened)
            return plural("Restored {count} mask.", "Restored {count} masks.", len(undone.files)), undone.note
        case _:
            raise InvalidInput(msg("The page sent something that is not understood."), msg("Reload the page."))


def _area(
    services: Services, opened: str, name: str, options: CheckOptions, mode: str = "crop", proposed: bytes | None = None
) -> Markup:
    """Return the editor of an image.

    Args:
        services: What the editor shows.
        opened: The dataset.
        name: The image.
        options: How training sees the image.
        mode: "crop" or "mask".
        proposed: A mask that is not saved yet.
    """
    datasets = services.datasets
    image = datasets.find_image(opened, name, options)
    problem, picture, mask = image.problem, b"", proposed
    try:
        picture = datasets.whole_picture(image, SIDE)
        mask = proposed or datasets.masks.read(opened, name, SIDE)
    except TrainEmbeddingError as error:
        problem = problem or error.text
    crop = image.crop
    return render(
        "image_editor",
        serial=next(_numbers),
        folder=printable(opened),
        name=printable(name),
        mode=mode,
        size=image.size if all(image.size) else (1, 1),
        target=image.target if all(image.target) else None,
        crop="" if crop is None else f"{crop.left!r} {crop.top!r} {crop.width!r} {crop.height!r}",
        picture=_address(_JPEG, picture),
        mask=_address(_PNG, mask or b""),
        has_file=datasets.masks.has_file(image),
        unsaved=proposed is not None,
        problem=problem,
        sides=_SIDES,
        crop_changes=datasets.crops.can_undo(opened),
        mask_changes=datasets.masks.can_undo(opened),
        faces_problem=datasets.crops.faces_problem(),
        foreground_problem=datasets.masks.foreground_problem(),
    )


def _read_request(text: str) -> _Request:
    """Parse a request of the script. Raises InvalidInput."""
    try:
        if len(text) > MAX_REQUEST:
            raise ValueError("it is too long")
        values: Any = json.loads(text)
        action, image = values["action"], values["image"]
        if not isinstance(action, str) or not isinstance(image, str):
            raise TypeError("they must be texts")
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise InvalidInput(msg("The page sent something that is not understood."), msg("Reload the page.")) from error
    return _Request(action, image, cast("dict[str, Any]", values))


def _crop_of(values: dict[str, Any]) -> dict[str, Any] | None:
    """Return the sides of the crop in a request; None for the whole image."""
    crop: Any = values.get("crop")
    if crop is None:
        return None
    sides = cast("dict[str, Any]", crop) if isinstance(crop, dict) else {}
    return sides


def _png_of(values: dict[str, Any]) -> bytes:
    """Return the PNG file in a request. Raises InvalidInput."""
    address = values.get("png")
    try:
        if not isinstance(address, str) or not address.startswith(_PNG):
            raise ValueError("it is not a PNG file")
        return base64.b64decode(address[len(_PNG) :], validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidInput(msg("The mask is not an image.")) from error


def _in_trash(files: Sequence[str]) -> Message:
    return msg('"{file}" is in the trash.', file=files[0]) if files else NOTHING


def _address(kind: str, data: bytes) -> str:
    return kind + base64.b64encode(data).decode("ascii") if data else ""
