"""Presets of the user's in the Train panel, and the settings that differ from the chosen preset."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import gradio as gr

from train_embedding.engine.config import OPTIONS, Option
from train_embedding.errors import InvalidInput, NotFound, UnreadableFile
from train_embedding.messages import NOTHING, Message, msg, verbatim
from train_embedding.services.kinds import DECIDED, kind_values
from train_embedding.services.presets import SUBJECT, usual_values
from train_embedding.translations import t
from train_embedding.ui import fields, html
from train_embedding.ui.error_handling import errors_in
from train_embedding.ui.gradio_compat import AT_ONCE, upload_button
from train_embedding.ui.library.details import download_link
from train_embedding.ui.templates import render

if TYPE_CHECKING:
    from markupsafe import Markup

    from train_embedding.services import Services
    from train_embedding.services.presets import OwnPreset

Updates = dict[Any, Any]
Fill = Callable[[], Updates]

YOURS = msg("Your presets")
RESET_ALL = msg("Reset all")
_MARKED = [option for option in OPTIONS if option.name not in SUBJECT]
_SHOWN_LENGTH = 40
"Characters of a value."


@dataclass(frozen=True)
class OwnPresets:
    """The widgets."""

    choice: gr.Dropdown
    name: gr.Textbox
    overwrite: gr.Checkbox
    save: gr.Button
    rename: gr.Button
    delete: gr.Button
    export: gr.Button
    upload: gr.UploadButton
    undo: gr.Button
    status: gr.HTML
    exported: gr.HTML
    changed: gr.HTML
    "The settings that differ from the chosen preset; the script resets the one that is clicked."
    reset_all: gr.Button
    deleted: gr.Textbox
    "Hidden; the id in the trash that the undo button restores."
    reset_option: gr.Textbox
    "Hidden; the script writes the name of the option to reset here."
    reset: gr.Button
    "Hidden; the script then clicks it."


def build(services: Services, values: Mapping[str, Any]) -> OwnPresets:
    """Add the widgets to the Blocks being built.

    Args:
        services: Have the presets.
        values: Of the options' widgets.
    """
    with gr.Row(elem_id="te_train_changed_row", elem_classes=["te-line"]):
        changed = gr.HTML(_changed_settings(values, None), elem_id="te_train_changed")
        reset_all = gr.Button(t(RESET_ALL), size="sm", elem_id="te_train_reset_all")
    with gr.Accordion(t(YOURS), open=False, elem_id="te_presets"):
        choice = gr.Dropdown(
            choices=_names(services), value=None, label=t("Your preset"), info=t("Fills in its settings."),
            elem_id="te_presets_choice",
        )  # fmt: skip
        with gr.Row(elem_classes=["te-line"]):
            name = gr.Textbox(
                "", label=t("Name"), max_lines=1, elem_id="te_presets_name",
                info=t("Saves all settings except the embedding, the dataset, the prompt to pack and the candidate words."),
            )  # fmt: skip
            save = gr.Button(t("Save preset"), elem_id="te_presets_save")
        with gr.Row(elem_classes=["te-line"]):
            rename = gr.Button(t("Rename"), size="sm", elem_id="te_presets_rename")
            delete = gr.Button(t("Delete"), variant="stop", size="sm", elem_id="te_presets_delete")
            export = gr.Button(t("Export"), size="sm", elem_id="te_presets_export")
            upload = upload_button(t("Import"), file_types=[".json"], size="sm", elem_id="te_presets_import")
            overwrite = gr.Checkbox(False, label=t("Overwrite"), container=False, min_width=120, elem_id="te_presets_overwrite")
        exported = gr.HTML("", elem_id="te_presets_exported")
        status = gr.HTML("", elem_id="te_presets_status")
        undo = gr.Button(t("Undo delete"), size="sm", elem_id="te_presets_undo")
    with gr.Column(elem_classes=["te-hidden"]):
        deleted = gr.Textbox("", show_label=False, elem_id="te_presets_deleted")
        reset_option = gr.Textbox("", show_label=False, elem_id="te_train_reset_option")
        reset = gr.Button("Reset the setting", elem_id="te_train_reset")
    return OwnPresets(
        choice, name, overwrite, save, rename, delete, export, upload, undo, status, exported, changed, reset_all, deleted,
        reset_option, reset,
    )  # fmt: skip


def parts(services: Services, panel: OwnPresets) -> dict[str, tuple[Any, Fill]]:
    """Return what the poll updates: the names, which other pages may have changed."""
    return {"presets": (services.presets.version(), lambda: {panel.choice: gr.update(choices=_names(services))})}


def changed_settings(panel: OwnPresets, values: Mapping[str, Any]) -> Updates:
    """Return the update that shows which of the options' values differ from their preset of the program."""
    return {panel.changed: _changed_settings(values, None)}


def marker(services: Services, panel: OwnPresets, widgets: Mapping[str, Any]) -> tuple[Callable[..., Updates], list[Any]]:
    """Return a handler that shows which settings differ from the chosen preset, and its inputs."""
    names = list(widgets)

    def mark_changed(choice: str | None, *values: Any) -> Updates:
        return {panel.changed: _changed_settings(dict(zip(names, values, strict=True)), _chosen(services, choice))}

    return mark_changed, [panel.choice, *widgets.values()]


def connect(services: Services, panel: OwnPresets, widgets: Mapping[str, Any]) -> list[Any]:
    """Make the widgets work.

    Args:
        services: Have the presets.
        panel: The widgets.
        widgets: The widget of each option of a run.

    Returns:
        The events that fill in options, which others may follow.
    """
    mark, inputs = marker(services, panel, widgets)

    def then_mark(event: Any) -> None:
        event.then(mark, inputs, [panel.changed], **AT_ONCE)

    for name in (option.name for option in _MARKED):
        widget, text = widgets[name], fields.BY_NAME[name].kind in ("text", "lines")
        (widget.blur if text else widget.input)(mark, inputs, [panel.changed], **AT_ONCE)
    filling = _connect_loading(services, panel, widgets, then_mark)
    _connect_changes(services, panel, widgets, then_mark)
    return [*filling, _connect_files(services, panel, widgets, then_mark)]


def _connect_loading(
    services: Services, panel: OwnPresets, widgets: Mapping[str, Any], then_mark: Callable[[Any], None]
) -> list[Any]:
    filled = [panel.status, panel.name, *(widgets[option.name] for option in _MARKED), widgets["preset"]]

    @errors_in(panel.status)
    def load_preset(choice: str | None) -> Updates:
        preset = _needed(services, choice)
        about = [verbatim(preset.description)] if preset.description else []
        text = msg("The settings of {name} are filled in.", name=preset.name)
        return {**_filled(widgets, preset), panel.name: preset.name, panel.status: html.message("good", text, *about)}

    @errors_in(panel.status)
    def reset_all(choice: str | None, based_on: str, *decided: str) -> Updates:
        values = _reference(_chosen(services, choice), based_on, decided)
        return {panel.status: "", **_updates_of(widgets, values)}

    @errors_in(panel.status)
    def reset_one(option: str, choice: str | None, based_on: str, *decided: str) -> Updates:
        values = _reference(_chosen(services, choice), based_on, decided)
        return {panel.status: "", **_updates_of(widgets, {option: values[option]} if option in values else {})}

    def leave_own() -> Updates:
        return {panel.choice: gr.update(value=None)}

    preset = widgets["preset"]
    reference = [panel.choice, preset, *(widgets[name] for name in DECIDED)]
    filling = [
        panel.choice.input(load_preset, [panel.choice], filled, **AT_ONCE),
        panel.reset_all.click(reset_all, reference, filled, **AT_ONCE),
        panel.reset.click(reset_one, [panel.reset_option, *reference], filled, **AT_ONCE),
    ]
    for event in (*filling, preset.input(leave_own, [], [panel.choice], **AT_ONCE)):
        then_mark(event)
    return filling


def _connect_changes(services: Services, panel: OwnPresets, widgets: Mapping[str, Any], then_mark: Callable[[Any], None]) -> None:
    names = list(widgets)
    every = [panel.status, panel.choice, panel.name, panel.overwrite, panel.deleted]

    @errors_in(panel.status)
    def save_preset(name: str, overwrite: bool, *values: Any) -> Updates:
        raw = dict(zip(names, values, strict=True))
        options = {option.name: fields.read_value(option, raw[option.name]) for option in _MARKED}
        saved = services.presets.save(name.strip(), {**options, "preset": raw["preset"]}, overwrite=overwrite)
        return {
            **_selected(services, panel, saved.name, msg("Saved the preset {name}.", name=saved.name)),
            panel.overwrite: False,
        }

    @errors_in(panel.status)
    def rename_preset(choice: str | None, name: str) -> Updates:
        renamed = services.presets.rename(_needed(services, choice).name, name.strip())
        text = msg("Renamed {name} to {new_name}.", name=choice, new_name=renamed.name)
        return _selected(services, panel, renamed.name, text)

    @errors_in(panel.status)
    def delete_preset(choice: str | None) -> Updates:
        name = _needed(services, choice).name
        trash_id = services.presets.delete(name)
        message = render("deleted", text=msg("{name} is in the trash.", name=name))
        return {**_selected(services, panel, None), panel.status: message, panel.deleted: trash_id}

    @errors_in(panel.status)
    def undo_delete_preset(trash_id: str) -> Updates:
        restored = services.presets.restore(trash_id)
        return _selected(services, panel, restored.name, msg("Restored {names}.", names=restored.name))

    then_mark(panel.save.click(save_preset, [panel.name, panel.overwrite, *widgets.values()], every, **AT_ONCE))
    panel.rename.click(rename_preset, [panel.choice, panel.name], every, **AT_ONCE)
    then_mark(panel.delete.click(delete_preset, [panel.choice], every, **AT_ONCE))
    then_mark(panel.undo.click(undo_delete_preset, [panel.deleted], every, **AT_ONCE))


def _connect_files(services: Services, panel: OwnPresets, widgets: Mapping[str, Any], then_mark: Callable[[Any], None]) -> Any:
    filled = [widgets[option.name] for option in _MARKED]

    @errors_in(panel.status)
    def export_preset(choice: str | None) -> Updates:
        preset = _needed(services, choice)
        return {panel.status: "", panel.exported: download_link(f"{preset.name}.json", services.presets.export(preset.name))}

    @errors_in(panel.status)
    def import_preset(file: Any, overwrite: bool) -> Updates:
        preset = services.presets.import_path(Path(file if isinstance(file, str) else file.name), overwrite=overwrite)
        selected = _selected(services, panel, preset.name, msg("Imported {name}; its settings are filled in.", name=preset.name))
        return {**selected, panel.overwrite: False, **_filled(widgets, preset)}

    panel.export.click(export_preset, [panel.choice], [panel.status, panel.exported], **AT_ONCE)
    outputs = [panel.status, panel.choice, panel.name, panel.overwrite, panel.deleted, widgets["preset"], *filled]
    imported = panel.upload.upload(import_preset, [panel.upload, panel.overwrite], outputs, **AT_ONCE)
    then_mark(imported)
    return imported


def _names(services: Services) -> list[str]:
    return [preset.name for preset in services.presets.list()]


def _needed(services: Services, choice: str | None) -> OwnPreset:
    if not choice:
        raise InvalidInput(msg("None of your presets is selected."), msg('Select one in "{field}".', field=msg("Your preset")))
    return services.presets.get(choice)


def _chosen(services: Services, choice: str | None) -> OwnPreset | None:
    """Return the chosen preset; None for none, or one that was deleted or cannot be read any more."""
    try:
        return services.presets.get(choice) if choice else None
    except (NotFound, InvalidInput, UnreadableFile):
        return None


def _reference(chosen: OwnPreset | None, based_on: str, decided: Sequence[Any]) -> dict[str, Any]:
    """Return the values that options have unless they were changed: those of the preset, and of the kind that is selected."""
    if chosen is not None and chosen.based_on == based_on:
        return chosen.values
    kind = fields.kind_of_widgets(decided)
    return {**usual_values(based_on), **(kind_values(kind) if kind else {})}


def _selected(services: Services, panel: OwnPresets, name: str | None, text: Message = NOTHING) -> Updates:
    status = html.message("good", text) if text else ""
    choice = gr.update(choices=_names(services), value=name)
    return {panel.choice: choice, panel.name: name or "", panel.status: status, panel.deleted: ""}


def _filled(widgets: Mapping[str, Any], preset: OwnPreset) -> Updates:
    return _updates_of(widgets, {**preset.values, "preset": preset.based_on})


def _updates_of(widgets: Mapping[str, Any], values: Mapping[str, Any]) -> Updates:
    return {widgets[name]: gr.update(value=fields.widget_value(name, value)) for name, value in values.items()}


def _changed_settings(values: Mapping[str, Any], chosen: OwnPreset | None) -> Markup:
    """Return the settings that differ from the chosen preset, each with a button that resets it."""
    reference = _reference(chosen, values["preset"], [values[name] for name in DECIDED])
    changed = [
        (option.name, option.label, _shown(option, values[option.name]), _shown(option, reference[option.name]))
        for option in _MARKED
        if fields.differs(option, values[option.name], reference[option.name])
    ]
    name = verbatim(chosen.name) if chosen is not None and chosen.based_on == values["preset"] else _label(values["preset"])
    return render("changed_settings", name=name, changed=changed)


def _label(preset: str) -> Message:
    return next(label for label, word in fields.BY_NAME["preset"].labelled_choices() if word == preset)


def _shown(option: Option, value: Any) -> Message:
    if option.kind == "flag":
        return msg("on") if value else msg("off")
    if option.kind == "choice":
        return next((label for label, word in option.labelled_choices() if word == value), verbatim(str(value)))
    if isinstance(value, float):
        return verbatim(f"{value:g}")
    lines = cast("tuple[str, ...]", value) if isinstance(value, tuple) else str("" if value is None else value).splitlines()
    short = " / ".join(lines)
    return verbatim(short if len(short) <= _SHOWN_LENGTH else f"{short[:_SHOWN_LENGTH]}…")
