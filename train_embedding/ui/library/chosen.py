"""What can be done with the embedding whose card was clicked: notes, preview, name, form, trash, a look inside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from train_embedding.errors import NotFound
from train_embedding.ui import html
from train_embedding.ui.error_handling import errors_in
from train_embedding.ui.gradio_compat import AT_ONCE, UNLISTED, upload_button
from train_embedding.ui.library import actions
from train_embedding.ui.library import files as library_files
from train_embedding.ui.library.actions import Action
from train_embedding.ui.library.cards import key_of
from train_embedding.ui.library.details import deletion_message, entry_details, restore_message, run_label
from train_embedding.ui.library.inspection import inspection_report
from train_embedding.ui.library.notes import build_notes, notes_values

if TYPE_CHECKING:
    from train_embedding.services import Services
    from train_embedding.services.library import Entry


NEIGHBOURS = 10


@dataclass(frozen=True)
class Chosen:
    status: gr.HTML
    "The panel's, for what became of an action."
    details: gr.HTML
    selected: gr.Textbox
    "Hidden: the script writes the key of the clicked card here,"
    select: gr.Button
    "and clicks this."
    sanitize: gr.Button
    notes: dict[str, Any]
    "The widget of each field of Notes."
    save_notes: gr.Button
    picture: gr.UploadButton
    run: gr.Dropdown
    take_run: gr.Button
    prompt: gr.Textbox
    draw: gr.Button
    name: gr.Textbox
    rename: gr.Button
    copy: gr.Button
    delete: gr.Button
    undo: gr.Button
    deleted: gr.State
    "What the undo button brings back: an id in the trash."
    files: library_files.Files
    near: gr.Checkbox
    inspect: gr.Button
    report: gr.HTML


def build(status: gr.HTML) -> Chosen:
    deleted = gr.State("")
    undo = gr.Button("Undo the deletion", size="sm", elem_id="te_library_undo")
    details = gr.HTML("", elem_id="te_library_details")
    with gr.Column(elem_classes=["te-hidden"]):
        selected = gr.Textbox("", show_label=False, elem_id="te_library_selected")
        select = gr.Button("Show details", elem_id="te_library_select")
    sanitize = gr.Button("Sanitize", variant="primary", size="sm", elem_id="te_library_sanitize")
    with gr.Column(elem_id="te_library_chosen"):
        with gr.Accordion("Notes", open=False):
            notes = build_notes()
            save_notes = gr.Button("Save notes", elem_id="te_library_save_notes")
        with gr.Accordion("Look inside", open=False):
            near = gr.Checkbox(
                False, label="Nearest embeddings too", info="Reads all of the same kind.", elem_id="te_library_neighbours"
            )
            inspect = gr.Button("Look inside", elem_id="te_library_inspect")
            report = gr.HTML("", elem_id="te_library_report")
        with gr.Accordion("Preview picture", open=False):
            picture = upload_button("From a file", file_types=["image"], size="sm", elem_id="te_library_picture")
            with gr.Row(elem_classes=["te-line"]):
                run = gr.Dropdown(
                    choices=[],
                    label="Training run",
                    info="Its newest preview.",
                    allow_custom_value=True,
                    elem_id="te_library_run",
                )
                take_run = gr.Button("From the run", elem_id="te_library_take_run")
            with gr.Row(elem_classes=["te-line"]):
                prompt = gr.Textbox("[name]", label="Prompt", info="[name] is the embedding.", elem_id="te_library_prompt")
                draw = gr.Button("Draw", elem_id="te_library_draw_preview")
        with gr.Accordion("Rename, copy, delete", open=False):
            with gr.Row(elem_classes=["te-line"]):
                name = gr.Textbox("", label="New name", max_lines=1, elem_id="te_library_new_name")
                rename = gr.Button("Rename", elem_id="te_library_rename")
                copy = gr.Button("Copy", elem_id="te_library_copy")
            delete = gr.Button("Delete", variant="stop", elem_id="te_library_delete")
        files = library_files.build()
    return Chosen(
        status, details, selected, select, sanitize, notes, save_notes, picture, run, take_run, prompt, draw, name, rename, copy,
        delete, undo, deleted, files, near, inspect, report,
    )  # fmt: skip


def connect(services: Services, chosen: Chosen, changed: Callable[[], None]) -> Sequence[Any]:
    """Makes the widgets work; `changed` is called after a change. Returns the events that may have changed the library."""

    def act(button: Any, do: Action, more: Sequence[Any] = (), **how: Any) -> Any:
        """A button that changes the chosen embedding."""

        @errors_in(chosen.status)
        def handle(key: str, *values: Any) -> dict[Any, Any]:
            entry, *sentences = do(services, entry_of(services, key), *values)
            changed()
            return {**_shown(services, chosen, entry), chosen.status: html.message("good", *sentences)}

        handle.__name__ = do.__name__
        return button(handle, [chosen.selected, *more], _every(chosen), **(how or AT_ONCE))

    @errors_in(chosen.status)
    def select(key: str) -> dict[Any, Any]:
        return {**_shown(services, chosen, entry_of(services, key)), chosen.status: "", chosen.deleted: ""}

    chosen.select.click(select, [chosen.selected], _every(chosen), **AT_ONCE)
    library_files.connect_export(services, chosen.files, chosen.status, chosen.selected, lambda key: entry_of(services, key))
    _connect_report(services, chosen)
    return (
        act(chosen.save_notes.click, actions.save_notes, list(chosen.notes.values())),
        act(chosen.sanitize.click, actions.sanitize),
        act(chosen.rename.click, actions.rename, [chosen.name]),
        act(chosen.copy.click, actions.copy, [chosen.name]),
        act(chosen.picture.upload, actions.set_picture, [chosen.picture]),
        act(chosen.take_run.click, actions.take_run, [chosen.run]),
        act(chosen.draw.click, actions.draw_preview, [chosen.prompt], **UNLISTED),
        act(chosen.files.convert.click, library_files.convert, [chosen.files.to, chosen.files.name], **UNLISTED),
        *_connect_trash(services, chosen, changed),
    )


def entry_of(services: Services, key: str) -> Entry:
    """The embedding of a card. Raises NotFound where there is none (any more)."""
    if not key:
        raise NotFound("No embedding is chosen.", "Click a card first.")
    try:
        return services.library.at(key)
    except NotFound:  # a page cannot hold every file name as it is
        for entry in services.library.list():
            if key_of(entry) == key:
                return entry
    raise NotFound(f'No embedding named "{key}".', "Click a card first.")


def _shown(services: Services, chosen: Chosen, entry: Entry) -> dict[Any, Any]:
    """The updates that show an embedding, other things being closed."""
    values = notes_values(entry.notes)
    return {
        chosen.details: entry_details(entry),
        chosen.selected: key_of(entry),
        chosen.name: entry.name,
        chosen.run: gr.update(choices=_runs(services, entry.name), value=None),
        chosen.report: "",
        chosen.files.exported: "",
        **{chosen.notes[name]: value for name, value in values.items()},
    }


def _every(chosen: Chosen) -> list[Any]:
    """What an action may update."""
    return [
        chosen.status, chosen.details, chosen.selected, chosen.name, chosen.run, chosen.report, chosen.files.exported,
        chosen.deleted, *chosen.notes.values(),
    ]  # fmt: skip


def _connect_trash(services: Services, chosen: Chosen, changed: Callable[[], None]) -> Sequence[Any]:
    @errors_in(chosen.status)
    def delete(key: str) -> dict[Any, Any]:
        entry = entry_of(services, key)
        services.library.delete(entry.name, entry.path)
        changed()
        newest = next((item.id for item in services.library.trashed() if entry.path in item.files), "")
        said = deletion_message(entry.name)
        return {chosen.details: "", chosen.selected: "", chosen.report: "", chosen.status: said, chosen.deleted: newest}

    @errors_in(chosen.status)
    def undo(trash_id: str) -> dict[Any, Any]:
        entries = services.library.restore(trash_id)
        changed()
        said = {chosen.status: restore_message(entries), chosen.deleted: ""}
        return {**(_shown(services, chosen, entries[0]) if entries else {}), **said}

    return (
        chosen.delete.click(delete, [chosen.selected], _every(chosen), **AT_ONCE),
        chosen.undo.click(undo, [chosen.deleted], _every(chosen), **AT_ONCE),
    )


def _connect_report(services: Services, chosen: Chosen) -> None:
    @errors_in(chosen.status)
    def inspect(key: str, near: bool) -> dict[Any, Any]:
        entry = entry_of(services, key)
        embedding = services.library.read(entry.name, entry.path)
        report = services.inspection.report_of(embedding, neighbours=NEIGHBOURS if near else 0)
        picture = services.inspection.picture(report) if report.compared else None
        return {chosen.status: "", chosen.report: inspection_report(report, picture)}

    chosen.inspect.click(inspect, [chosen.selected, chosen.near], [chosen.status, chosen.report], **UNLISTED)


def _runs(services: Services, name: str) -> list[str]:
    """Labels of runs that drew previews, those of this embedding first."""
    runs = [run for run in services.runs.list() if run.previews]
    return [run_label(run) for run in sorted(runs, key=lambda run: run.embedding != name)]
