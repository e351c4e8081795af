"""The Dataset panel: choose or create a dataset, add images, see what training will see of them, exclude and remove them."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from train_embedding.errors import InvalidInput, TrainEmbeddingError
from train_embedding.messages import joined, msg, plural
from train_embedding.translations import t
from train_embedding.ui import html
from train_embedding.ui.datasets import auto_captions
from train_embedding.ui.datasets import captions as caption_editor
from train_embedding.ui.datasets import editor as image_editor
from train_embedding.ui.datasets import html as dataset_html
from train_embedding.ui.datasets.uploads import read_uploads
from train_embedding.ui.datasets.views import SEEN, Reading, View, Views, image_of, needed, next_version, options_of, read_view
from train_embedding.ui.error_handling import errors_in
from train_embedding.ui.gradio_compat import AT_ONCE, upload_button
from train_embedding.ui.templates import render
from train_embedding.ui.training import images
from train_embedding.ui.training.panel import TrainPanel

if TYPE_CHECKING:
    from train_embedding.services import Services
    from train_embedding.services.datasets import CheckOptions

logger = logging.getLogger(__name__)

BATCH = 24
"Largest number of thumbnails in one answer."
TAB = "te_tab_dataset"
Updates = dict[Any, Any]


@dataclass(frozen=True)
class Hidden:
    """Hidden widgets that must be in the page before the panel is: gradio 6 leaves out what is on a tab until it is opened."""

    opened: gr.Textbox
    "The folder of the open dataset. When it is not the one that is shown, the script requests it."


@dataclass(frozen=True)
class DatasetPanel:
    """The widgets."""

    folder: gr.Dropdown
    name: gr.Textbox
    create: gr.Button
    upload: gr.UploadButton
    refresh: gr.Button
    use: gr.Button
    delete: gr.Button
    undelete: gr.Button
    status: gr.HTML
    images: gr.HTML
    exclude_all: gr.Button
    include_all: gr.Button
    buckets: gr.HTML
    details: gr.HTML
    exclude: gr.Button
    remove: gr.Button
    undo: gr.Button
    editor: image_editor.Editor
    captions: caption_editor.Captions
    auto: auto_captions.AutoCaptions
    bulk: caption_editor.Bulk
    uploaded: gr.Textbox
    "Hidden; the script writes the names of uploaded files here."
    shown: gr.Textbox
    "Hidden; the folder that the choice above shows."
    view: gr.Textbox
    "Hidden; JSON of the script: the filter and the page."
    version: gr.Textbox
    "Hidden; changes with every change of the dataset. The script then requests its images."
    update: gr.Button
    "Hidden; the script clicks it for the images."
    selected: gr.Textbox
    "Hidden; the script writes the name of the clicked image here."
    select: gr.Button
    "Hidden; the script then clicks it."
    wanted: gr.Textbox
    "Hidden; JSON of the script: names of images whose thumbnails it lacks."
    draw: gr.Button
    pictures: gr.HTML
    hidden: Hidden


def build_hidden() -> Hidden:
    """Add the hidden widgets to the Blocks being built."""
    return Hidden(opened=gr.Textbox("", show_label=False, elem_id="te_dataset_open"))


def build(services: Services, hidden: Hidden) -> DatasetPanel:
    """Add the panel to the Blocks being built.

    Args:
        services: What the panel works on.
        hidden: Its hidden widgets.
    """
    with gr.Row(elem_classes=["te-line"], elem_id="te_dataset_bar"):
        folder = gr.Dropdown(
            choices=[], value=None, allow_custom_value=True, label=t("Dataset"), scale=4, elem_id="te_dataset_folder",
            info=t("Choose a dataset in the data folder, or type the path of a folder and press Enter."),
        )  # fmt: skip
        name = gr.Textbox(
            "", label=t("New dataset"), info=t("Enter a name; add images afterwards."), placeholder="my-cat", max_lines=1,
            scale=2, elem_id="te_dataset_name",
        )  # fmt: skip
        create = gr.Button(t("Create"), elem_id="te_dataset_create")
    with gr.Row(elem_id="te_dataset_actions"):
        with gr.Row(elem_id="te_dataset_upload"):
            upload = upload_button(t("Add images"), file_count="multiple", size="sm", elem_id="te_dataset_add")
        refresh = gr.Button(t("Check again"), size="sm", elem_id="te_dataset_refresh")
        use = gr.Button(t("Use for training"), variant="primary", size="sm", elem_id="te_dataset_use")
        delete = gr.Button(t("Delete dataset"), variant="stop", size="sm", elem_id="te_dataset_delete")
        undelete = gr.Button(t("Undo delete"), size="sm", elem_id="te_dataset_undelete")
    gr.HTML(render("dataset_hints"), elem_id="te_dataset_hints")
    status = gr.HTML("", elem_id="te_dataset_status")
    with gr.Row(equal_height=False, elem_id="te_dataset_columns"):
        with gr.Column(scale=6, min_width=320):
            images = gr.HTML(dataset_html.no_dataset(), elem_id="te_dataset_list")
            with gr.Row(elem_id="te_dataset_all"):
                exclude_all = gr.Button(t("Exclude filtered images"), size="sm", elem_id="te_dataset_exclude_all")
                include_all = gr.Button(t("Include filtered images"), size="sm", elem_id="te_dataset_include_all")
            buckets = gr.HTML("", elem_id="te_dataset_buckets")
        with gr.Column(scale=4, min_width=320):
            details = gr.HTML("", elem_id="te_dataset_details")
            with gr.Column(elem_id="te_dataset_chosen"):
                one_editor = image_editor.build()
                captions = caption_editor.build()
            with gr.Row(elem_id="te_dataset_image_actions"):
                exclude = gr.Button(t("Exclude"), size="sm", elem_id="te_dataset_exclude")
                remove = gr.Button(t("Remove"), variant="stop", size="sm", elem_id="te_dataset_remove")
                undo = gr.Button(t("Undo remove"), size="sm", interactive=False, elem_id="te_dataset_undo_remove")
            auto = auto_captions.build(services)
            bulk = caption_editor.build_bulk()
            crops = image_editor.build_all()
    with gr.Column(elem_classes=["te-hidden"]):
        uploaded, shown, view, version, selected, wanted = (
            gr.Textbox("", show_label=False, elem_id=f"te_dataset_{part}")
            for part in ("uploaded", "shown", "view", "version", "selected", "wanted")
        )
        update = gr.Button("Show the images", elem_id="te_dataset_update")
        select = gr.Button("Show the image", elem_id="te_dataset_select")
        draw = gr.Button("Show thumbnails", elem_id="te_dataset_draw")
        pictures = gr.HTML("", elem_id="te_dataset_pictures")
    editor = image_editor.Editor(*one_editor[:2], *crops, *one_editor[2:])
    return DatasetPanel(
        folder, name, create, upload, refresh, use, delete, undelete, status, images, exclude_all, include_all, buckets, details,
        exclude, remove, undo, editor, captions, auto, bulk, uploaded, shown, view, version, update, selected, select, wanted,
        draw, pictures, hidden,
    )  # fmt: skip


def connect(services: Services, panel: DatasetPanel, views: Views, train: TrainPanel, tabs: gr.Tabs) -> list[Any]:
    """Make everything in the panel work; return the events after which the page polls.

    Args:
        services: What the panel works on.
        panel: The panel.
        views: The checks of datasets.
        train: The Train panel, whose options decide how images are seen, and whose dataset is set.
        tabs: The sub-tabs.
    """
    seen = [train.widgets[name] for name in SEEN]
    _connect_images(services, panel, views, seen, train.widgets["dataset"])
    _connect_folder(services, panel, views)
    _connect_changes(services, panel, views, seen)
    _connect_use(services, panel, views, train, tabs)
    caption_editor.connect(services, panel, views, seen)
    return [auto_captions.connect(services, panel, views, seen), image_editor.connect(services, panel, views, seen)]


def _connect_folder(services: Services, panel: DatasetPanel, views: Views) -> None:
    @errors_in(panel.status)
    def open_dataset(typed: str | None, opened: str) -> Updates:
        if not typed:
            return {panel.status: gr.update()}
        folder = str(services.datasets.check_folder(typed))
        return {panel.status: gr.update()} if folder == opened else {panel.hidden.opened: folder, panel.status: ""}

    @errors_in(panel.status)
    def create_dataset(name: str) -> Updates:
        created = services.datasets.create(name.strip())
        hint = msg('Drop images on this page, or click "{button}".', button=msg("Add images"))
        text = msg('Created the dataset "{name}".', name=created.folder.name)
        folder = str(services.datasets.check_folder(created.folder))
        return {panel.hidden.opened: folder, panel.name: "", panel.status: html.message("good", text, hint)}

    @errors_in(panel.status)
    def add_images(files: Any, names: str, opened: str, name: str) -> Updates:
        uploads = read_uploads(files, names)
        if not opened and name.strip():
            added = services.datasets.create(name.strip(), uploads)
            created = {panel.hidden.opened: str(services.datasets.check_folder(added.folder)), panel.name: ""}
            return {**created, panel.status: dataset_html.added_message(added)}
        added = services.datasets.add(needed(opened), uploads)
        views.outdate(opened)
        return {panel.status: dataset_html.added_message(added), panel.version: next_version()}

    @errors_in(panel.status)
    def check_again(opened: str) -> Updates:
        views.outdate(needed(opened))
        return {panel.status: "", panel.version: next_version()}

    @errors_in(panel.status)
    def delete_dataset(opened: str) -> Updates:
        folder = services.datasets.delete(needed(opened))
        text = msg('The dataset "{name}" is in the trash.', name=folder.name)
        closed = {panel.hidden.opened: "", panel.shown: "", panel.details: "", panel.editor.area: "", panel.captions.current: ""}
        choice = gr.update(choices=_names(services), value=None)
        shown = {panel.folder: choice, panel.buckets: "", panel.status: render("deleted", text=text)}
        return {**closed, **shown, panel.version: next_version()}

    @errors_in(panel.status)
    def undelete_dataset() -> Updates:
        folder = services.datasets.undelete()
        views.outdate(str(folder))
        text = html.message("good", msg('Restored the dataset "{name}".', name=folder.name))
        return {panel.hidden.opened: str(folder.resolve()), panel.status: text, panel.version: next_version()}

    opened, status = panel.hidden.opened, panel.status
    closed = [opened, panel.shown, panel.details, panel.editor.area, panel.captions.current]
    panel.delete.click(delete_dataset, [opened], [*closed, panel.folder, panel.buckets, status, panel.version], **AT_ONCE)
    panel.undelete.click(undelete_dataset, [], [opened, status, panel.version], **AT_ONCE)
    panel.folder.change(open_dataset, [panel.folder, opened], [opened, status], **AT_ONCE)
    for event in (panel.create.click, panel.name.submit):
        event(create_dataset, [panel.name], [opened, panel.name, status], **AT_ONCE)
    sent = [panel.upload, panel.uploaded, opened, panel.name]
    panel.upload.upload(add_images, sent, [status, panel.version, opened, panel.name], **AT_ONCE)
    panel.refresh.click(check_again, [opened], [status, panel.version], **AT_ONCE)


def _connect_images(services: Services, panel: DatasetPanel, views: Views, seen: Sequence[Any], used: Any) -> None:
    captions = panel.captions

    @errors_in(panel.status)
    def update_dataset(
        opened: str, shown: str, request: str, version: str, current: str, caption: str, filled: str, used: str, *seen: Any
    ) -> Updates:
        options = options_of(seen)
        other: Updates = {}
        if shown and shown != opened and current and caption_editor.is_typed(caption, filled):
            try:
                caption_editor.save_typed(services, views, shown, current, caption, options)
            except TrainEmbeddingError as problem:  # what was typed is not lost
                return {panel.hidden.opened: shown, panel.status: html.error(problem)}
        if not opened and not (opened := _folder_of(services, used)):
            return {panel.images: dataset_html.no_dataset(), panel.folder: gr.update(choices=_names(services))}
        if shown != opened:
            choice = gr.update(choices=_names(services), value=_name_of(services, opened))
            other = {panel.shown: opened, panel.folder: choice, captions.current: "", captions.caption: "", captions.tokens: ""}
            other[captions.filled] = ""
            current, request = "", ""
        chosen, number = read_view(request)
        view = views.due(opened, options)
        if isinstance(view, Reading):
            return {
                **other,
                panel.hidden.opened: opened,
                panel.images: dataset_html.reading(opened, version, view.done, view.total),
            }
        return {
            **other,
            panel.hidden.opened: opened,
            panel.images: dataset_html.image_list(view, version, chosen, number, views.to_examine(view)),
            panel.buckets: dataset_html.buckets(view.check),
            panel.undo: gr.update(interactive=bool(services.datasets.removed(opened))),
            panel.exclude_all: gr.update(interactive=bool(chosen)),
            panel.include_all: gr.update(interactive=bool(chosen)),
            **caption_editor.newer_image(services, panel, image_of(view, current), (caption, filled), options),
            **caption_editor.about_dataset(services, captions, view),
        }

    def draw_pictures(request: str, opened: str, *seen: Any) -> str:
        serial, names, large = _read_request(request)
        try:
            view = views.kept(opened, options_of(seen)) if opened else None
            found = {} if view is None else _thumbnails(services, view, names, large)
        except TrainEmbeddingError as problem:  # the list shows it
            logger.info("Thumbnails of %s are not shown: %s", opened, problem)
            found = {}
        return render("card_images", serial=serial, images=json.dumps(found))

    opened = panel.hidden.opened
    outputs = [
        opened, panel.status, panel.images, panel.buckets, panel.details, panel.exclude, panel.undo, panel.exclude_all,
        panel.include_all, panel.shown, panel.folder, captions.current, captions.caption, captions.tokens, captions.filled,
        *caption_editor.outputs(captions),
    ]  # fmt: skip
    typed = [captions.current, captions.caption, captions.filled]
    inputs = [opened, panel.shown, panel.view, panel.version, *typed, used, *seen]
    panel.update.click(update_dataset, inputs, outputs, **AT_ONCE)
    panel.draw.click(draw_pictures, [panel.wanted, opened, *seen], [panel.pictures], **AT_ONCE)


def _connect_changes(services: Services, panel: DatasetPanel, views: Views, seen: Sequence[Any]) -> None:
    current = panel.captions.current

    @errors_in(panel.status)
    def exclude_image(opened: str, current: str, *seen: Any) -> Updates:
        options = options_of(seen)
        image = image_of(views.kept(needed(opened), options), current)
        if image is None:
            raise InvalidInput(msg("No image is selected."), msg("Click one in the list first."))
        return excluded([image.name], not image.excluded, opened, options)

    def exclude_all(opened: str, request: str, *seen: Any) -> Updates:
        return exclude_matching(opened, request, True, seen)

    def include_all(opened: str, request: str, *seen: Any) -> Updates:
        return exclude_matching(opened, request, False, seen)

    @errors_in(panel.status)
    def exclude_matching(opened: str, request: str, exclude: bool, seen: Sequence[Any]) -> Updates:
        options = options_of(seen)
        images = dataset_html.matching(views.kept(needed(opened), options).check, read_view(request)[0])
        names = [image.name for image in images if image.excluded != exclude]
        return excluded(names, exclude, opened, options)

    def excluded(names: Sequence[str], exclude: bool, opened: str, options: CheckOptions) -> Updates:
        if names:
            services.datasets.exclude(opened, names, exclude)
            views.changed(opened, options, frozenset(names))
        if exclude:
            text = plural("{count} image is excluded from training.", "{count} images are excluded from training.", len(names))
        else:
            text = plural("{count} image is used for training again.", "{count} images are used for training again.", len(names))
        return {panel.status: html.message("good", text), panel.version: next_version()}

    @errors_in(panel.status)
    def remove_image(opened: str, current: str, *seen: Any) -> Updates:
        if not current:
            raise InvalidInput(msg("No image is selected."), msg("Click one in the list first."))
        services.datasets.remove(needed(opened), [current])
        views.changed(opened, options_of(seen), frozenset([current]))
        text = msg('"{name}" is in the trash, with its caption and mask.', name=current)
        closed = {panel.details: "", panel.captions.current: "", panel.captions.caption: "", panel.captions.filled: ""}
        return {**closed, panel.status: html.message("good", text), panel.version: next_version()}

    @errors_in(panel.status)
    def restore_images(opened: str) -> Updates:
        item = services.datasets.restore(needed(opened))
        views.outdate(opened)
        text = msg("Restored {names}.", names=joined(map(str, item.files[:3])))
        return {panel.status: html.message("good", text), panel.version: next_version()}

    opened, changed = panel.hidden.opened, [panel.status, panel.version]
    panel.exclude.click(exclude_image, [opened, current, *seen], changed, **AT_ONCE)
    panel.exclude_all.click(exclude_all, [opened, panel.view, *seen], changed, **AT_ONCE)
    panel.include_all.click(include_all, [opened, panel.view, *seen], changed, **AT_ONCE)
    closed = [panel.details, current, panel.captions.caption, panel.captions.filled]
    panel.remove.click(remove_image, [opened, current, *seen], [*changed, *closed], **AT_ONCE)
    panel.undo.click(restore_images, [opened], changed, **AT_ONCE)


def _connect_use(services: Services, panel: DatasetPanel, views: Views, train: TrainPanel, tabs: gr.Tabs) -> None:
    dataset = train.widgets["dataset"]

    @errors_in(panel.status)
    def use_dataset(opened: str) -> Updates:
        folder = services.datasets.check_folder(needed(opened))
        return {
            dataset: _name_of(services, str(folder)),
            tabs: gr.update(selected="te_tab_train"),
            panel.status: "",
        }

    @errors_in(train.images.status)
    def check_dataset(typed: str) -> Updates:
        folder = str(services.datasets.check_folder(typed))
        return {panel.hidden.opened: folder, tabs: gr.update(selected=TAB), train.images.status: ""}

    panel.use.click(use_dataset, [panel.hidden.opened], [dataset, tabs, panel.status], **AT_ONCE)
    train.images.open.click(check_dataset, [dataset], [panel.hidden.opened, tabs, train.images.status], **AT_ONCE)
    panel.version.change(
        images.shower(services, train.images, views), images.show_inputs(train.widgets, train.kind),
        [train.images.strip, train.images.state], **AT_ONCE,
    )  # fmt: skip


def _read_request(request: str) -> tuple[int, list[str], str]:
    """Parse a request for pictures: its serial number, names, and that of the large one. Anything else requests nothing."""
    try:
        values: Any = json.loads(request)
        names = [name for name in values["names"] if isinstance(name, str)]
        return int(values["serial"]), names[:BATCH], str(values["large"])
    except (ValueError, TypeError, KeyError):
        return 0, [], ""


def _thumbnails(services: Services, view: View, names: Sequence[str], large: str) -> dict[str, list[str]]:
    """Return the thumbnail and the mask of images by name, as addresses; and those of the large one under an empty name."""
    by_name = {image.name: image for image in view.check.images}
    wanted = [by_name[name] for name in {*names, large} if name in by_name]
    found = services.datasets.thumbnails(wanted)
    services.datasets.measure_first([image for image in wanted if image.name not in found])
    addresses = {name: [_address(data) for data in pair] for name, pair in found.items()}
    if large in by_name:
        try:
            addresses[""] = [_address(services.datasets.picture(by_name[large])), addresses.get(large, ["", ""])[1]]
        except TrainEmbeddingError as problem:
            logger.info("%s is not shown: %s", by_name[large].file, problem)
    return addresses


def _address(data: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(data).decode("ascii") if data else ""


def _names(services: Services) -> list[str]:
    return [dataset.name for dataset in services.datasets.list()]


def _name_of(services: Services, folder: str) -> str:
    """Return the name of a dataset in the data folder, or the path of another folder."""
    name = Path(folder).name
    try:
        return name if str(services.datasets.check_folder(name)) == folder else folder
    except TrainEmbeddingError:
        return folder


def _folder_of(services: Services, typed: str | None) -> str:
    """Return the folder in the field of the Train panel; empty if there is none."""
    try:
        return str(services.datasets.check_folder(typed)) if typed else ""
    except TrainEmbeddingError:
        return ""
