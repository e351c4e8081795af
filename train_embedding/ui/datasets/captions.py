"""The caption editor of the Dataset panel: the caption of the selected image, and changes of many captions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from train_embedding.errors import InvalidInput, NotFound
from train_embedding.messages import Message, msg, plural
from train_embedding.services import datasets
from train_embedding.translations import t
from train_embedding.ui import html
from train_embedding.ui.datasets import html as dataset_html
from train_embedding.ui.datasets.views import View, Views, image_of, needed, next_version, options_of, read_view
from train_embedding.ui.error_handling import errors_in
from train_embedding.ui.gradio_compat import AT_ONCE

if TYPE_CHECKING:
    from markupsafe import Markup

    from train_embedding.services import Services
    from train_embedding.services.datasets import CheckedImage, CheckOptions
    from train_embedding.ui.datasets.panel import DatasetPanel

Updates = dict[Any, Any]


@dataclass(frozen=True)
class Captions:
    """The widgets for the caption of the selected image."""

    caption: gr.Textbox
    tokens: gr.HTML
    save: gr.Button
    undo: gr.Button
    use: gr.HTML
    tags: gr.HTML
    current: gr.Textbox
    "Hidden; the name of the image whose caption is shown."
    filled: gr.Textbox
    "Hidden; the caption as it was filled in, from which what the user types differs."


@dataclass(frozen=True)
class Bulk:
    """The widgets for changes of many captions."""

    prefix: gr.Textbox
    suffix: gr.Textbox
    find: gr.Textbox
    replace: gr.Textbox
    remove_tag: gr.Textbox
    filtered: gr.Checkbox
    create: gr.Checkbox
    apply: gr.Button


def build() -> Captions:
    """Add the widgets for one caption to the Blocks being built."""
    caption = gr.Textbox(
        "", label=t("Caption"), lines=3, max_lines=8, elem_id="te_dataset_caption",
        info=t(
            "Enter saves. At the start or end of the text, the up and down arrow keys save and go to the previous or next image."
        ),
    )  # fmt: skip
    tokens = gr.HTML("", elem_id="te_dataset_tokens")
    with gr.Row():
        save = gr.Button(t("Save caption"), size="sm", elem_id="te_dataset_save")
        undo = gr.Button(t("Undo caption change"), size="sm", interactive=False, elem_id="te_dataset_undo_caption")
    use = gr.HTML("", elem_id="te_dataset_caption_use")
    tags = gr.HTML("", elem_id="te_dataset_tags")
    with gr.Column(elem_classes=["te-hidden"]):
        current = gr.Textbox("", show_label=False, elem_id="te_dataset_current")
        filled = gr.Textbox("", show_label=False, elem_id="te_dataset_filled")
    return Captions(caption, tokens, save, undo, use, tags, current, filled)


def build_bulk() -> Bulk:
    """Add the widgets for changes of many captions to the Blocks being built."""

    def field(name: str, label: Message, info: Message) -> gr.Textbox:
        return gr.Textbox("", label=t(label), info=t(info), max_lines=1, min_width=140, elem_id=f"te_dataset_{name}")

    with gr.Accordion(t("Batch edit captions"), open=False, elem_id="te_dataset_bulk"):
        with gr.Row():
            prefix = field("prefix", msg("Prefix"), msg('For example "my-cat, ".'))
            suffix = field("suffix", msg("Suffix"), msg('For example ", outdoors".'))
        with gr.Row():
            find = field("find", msg("Find"), msg("Case-sensitive."))
            replace = field("replace", msg("Replace with"), msg("Leave empty to delete the text."))
        remove_tag = field("remove_tag", msg("Remove tag"), msg("The text between two commas. Case is ignored."))
        filtered = gr.Checkbox(False, label=t("Only filtered images"), elem_id="te_dataset_filtered")
        create = gr.Checkbox(False, label=t("Also create missing caption files"), elem_id="te_dataset_create_captions")
        apply = gr.Button(t("Change captions"), elem_id="te_dataset_apply")
    return Bulk(prefix, suffix, find, replace, remove_tag, filtered, create, apply)


def outputs(captions: Captions) -> Sequence[Any]:
    """Return the widgets that `about_dataset` updates."""
    return (captions.undo, captions.use, captions.tags)


def about_dataset(services: Services, captions: Captions, view: View) -> Updates:
    """Return the updates that follow from a dataset as a whole."""
    check = view.check
    use = datasets.caption_use(check.options.template)
    return {
        captions.undo: gr.update(interactive=services.datasets.caption_changes(check.folder) > 0),
        captions.use: html.message("quiet", use) if use else "",
        captions.tags: dataset_html.tags(services.datasets.tags_of(check.images)),
    }


def connect(services: Services, panel: DatasetPanel, views: Views, seen: Sequence[Any]) -> None:
    """Make the caption editor work.

    Args:
        services: Change the captions.
        panel: The panel that has the editor.
        views: The checks of datasets.
        seen: The widgets of SEEN.
    """
    _connect_image(services, panel, views, seen)
    _connect_bulk(services, panel, views, seen)


def _connect_image(services: Services, panel: DatasetPanel, views: Views, seen: Sequence[Any]) -> None:
    captions, opened = panel.captions, panel.hidden.opened

    @errors_in(panel.status)
    def select_image(opened: str, selected: str, current: str, caption: str, filled: str, *seen: Any) -> Updates:
        options = options_of(seen)
        saved = is_typed(caption, filled) and save_typed(services, views, opened, current, caption, options)
        image = image_of(views.kept(needed(opened), options), selected)
        if image is None:
            raise NotFound(msg('There is no image "{name}" in the dataset any more.', name=selected))
        changed = {panel.version: next_version()} if saved else {}
        return {**shown_image(services, panel, image, options), **changed, panel.status: ""}

    @errors_in(panel.status)
    def save_caption(opened: str, current: str, caption: str, *seen: Any) -> Updates:
        if not current:
            raise InvalidInput(msg("No image is selected."), msg("Click one in the list first."))
        options = options_of(seen)
        services.datasets.write_caption(needed(opened), current, caption)
        views.changed(opened, options, frozenset([current]))
        text = html.message("quiet", msg("Saved the caption of {name}.", name=current))
        return {panel.status: text, panel.version: next_version(), captions.filled: caption}

    @errors_in(panel.status)
    def undo_captions(opened: str, current: str, *seen: Any) -> Updates:
        changed, options = services.datasets.undo_captions(needed(opened)), options_of(seen)
        view = views.fresh(opened, options)
        text = plural("Restored {count} caption.", "Restored {count} captions.", len(changed.files))
        image = image_of(view, current)
        shown = shown_image(services, panel, image, options) if image else {}
        return {**shown, panel.status: html.message("good", text, changed.note), panel.version: next_version()}

    @errors_in(captions.tokens)
    def count_tokens(caption: str) -> Updates:
        return {captions.tokens: dataset_html.tokens(*services.datasets.count_tokens(caption or ""))}

    image = [panel.details, panel.exclude, captions.caption, captions.tokens, captions.current, captions.filled]
    changed = [panel.status, panel.version]
    typed = [captions.current, captions.caption]
    panel.select.click(select_image, [opened, panel.selected, *typed, captions.filled, *seen], [*changed, *image], **AT_ONCE)
    captions.save.click(save_caption, [opened, *typed, *seen], [*changed, captions.filled], **AT_ONCE)
    captions.undo.click(undo_captions, [opened, captions.current, *seen], [*changed, *image], **AT_ONCE)
    captions.caption.change(count_tokens, [captions.caption], [captions.tokens], **AT_ONCE)


def _connect_bulk(services: Services, panel: DatasetPanel, views: Views, seen: Sequence[Any]) -> None:
    bulk, captions, opened = panel.bulk, panel.captions, panel.hidden.opened

    @errors_in(panel.status)
    def change_captions(
        opened: str, request: str, current: str, caption: str, filled: str, only: bool, create: bool, tag: str, find: str,
        replace: str, prefix: str, suffix: str, *seen: Any,
    ) -> Updates:  # fmt: skip
        options = options_of(seen)
        if is_typed(caption, filled):
            save_typed(services, views, needed(opened), current, caption, options)
        images = dataset_html.matching(views.kept(needed(opened), options).check, read_view(request)[0])
        names = [image.name for image in images if not image.problem]
        if only and not names:
            raise InvalidInput(msg("No filtered image has a caption that can be changed."))
        edit = datasets.CaptionEdit(tag, find, replace, prefix, suffix)
        changed = services.datasets.edit_captions(opened, edit, names if only else (), create)
        view = views.fresh(opened, options)
        text = plural("{count} caption changed.", "{count} captions changed.", len(changed.files))
        image = image_of(view, current)
        shown = shown_image(services, panel, image, options) if image else {}
        return {**shown, panel.status: html.message("good", text, changed.note), panel.version: next_version()}

    inputs = [
        opened, panel.view, captions.current, captions.caption, captions.filled, bulk.filtered, bulk.create, bulk.remove_tag,
        bulk.find, bulk.replace, bulk.prefix, bulk.suffix, *seen,
    ]  # fmt: skip
    image = [panel.details, panel.exclude, captions.caption, captions.tokens, captions.current, captions.filled]
    bulk.apply.click(change_captions, inputs, [panel.status, panel.version, *image], **AT_ONCE)


def is_typed(caption: str, filled: str) -> bool:
    """Whether a caption is not the one that was filled in. The file may have changed since, and is not replaced then."""
    return _words(caption) != _words(filled)


def save_typed(services: Services, views: Views, opened: str, current: str, caption: str, options: CheckOptions) -> bool:
    """Save the caption that was typed for an image before something else is shown; return whether it had changed.

    Raises:
        InvalidInput: Training could not read it.
        StorageFailed: It cannot be written.
    """
    image = image_of(views.kept(needed(opened), options), current) if current else None
    if image is None or image.problem or _words(caption) == _own_caption(image):
        return False
    services.datasets.write_caption(opened, current, caption)
    views.changed(opened, options, frozenset([current]))
    return True


def shown_image(services: Services, panel: DatasetPanel, image: CheckedImage, options: CheckOptions) -> Updates:
    """Return the updates that show an image with its caption."""
    captions, caption = panel.captions, _own_caption(image)
    placeholder = "" if image.has_caption_file else image.caption
    return {
        **about_image(panel, image, options),
        captions.caption: gr.update(value=caption, placeholder=placeholder, interactive=not image.problem),
        captions.tokens: _tokens(services, caption),
        captions.current: image.name,
        captions.filled: caption,
    }


def newer_image(
    services: Services, panel: DatasetPanel, image: CheckedImage | None, typed: tuple[str, str], options: CheckOptions
) -> Updates:
    """Return the updates that show the selected image as it is now; what the user has typed stays.

    Args:
        services: Count the tokens.
        panel: The panel that shows the image.
        image: The image.
        typed: Its caption in the page, and the one that was filled in there.
        options: How training sees the image.
    """
    if image is None or is_typed(*typed) or _own_caption(image) == _words(typed[1]):
        return about_image(panel, image, options)
    return shown_image(services, panel, image, options)


def about_image(panel: DatasetPanel, image: CheckedImage | None, options: CheckOptions) -> Updates:
    """Return the updates that show the facts about an image without its caption."""
    is_excluded = image is not None and image.excluded
    return {
        panel.details: dataset_html.details(image, options.resize_mode) if image else "",
        panel.exclude: gr.update(value=t("Include again") if is_excluded else t("Exclude")),
    }


def _words(caption: str | None) -> str:
    return " ".join((caption or "").split())


def _own_caption(image: CheckedImage) -> str:
    """Return the text of the caption file of an image; empty without one."""
    return image.caption if image.has_caption_file else ""


def _tokens(services: Services, caption: str) -> Markup:
    try:
        return dataset_html.tokens(*services.datasets.count_tokens(caption))
    except InvalidInput as problem:
        return html.error(problem)
