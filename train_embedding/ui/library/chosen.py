"""The selected embedding: its details, notes, preview image, name and file, and a report on its vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from train_embedding.errors import Conflict, NotFound
from train_embedding.messages import msg
from train_embedding.translations import t
from train_embedding.ui import html
from train_embedding.ui.error_handling import errors_in
from train_embedding.ui.gradio_compat import AT_ONCE, UNLISTED, upload_button
from train_embedding.ui.library import actions
from train_embedding.ui.library import files as library_files
from train_embedding.ui.library.actions import Action
from train_embedding.ui.library.cards import key_of
from train_embedding.ui.library.details import SANITIZE, entry_details, run_label
from train_embedding.ui.library.inspection import inspection_report
from train_embedding.ui.library.notes import build_notes, notes_values

if TYPE_CHECKING:
    from train_embedding.services import Services
    from train_embedding.services.library import Entry

UNDER_NAME, REPLACE = msg("Restore under this name"), msg("Replace the present one")
"The buttons that are shown where a name is taken."
NEIGHBOURS = 10
"Number of nearest embeddings in a report."


@dataclass(frozen=True)
class Chosen:
    """The widgets."""

    status: gr.HTML
    "Of the panel; shows the messages of actions."
    details: gr.HTML
    selected: gr.Textbox
    "Hidden; the script writes the key of the clicked card here."
    select: gr.Button
    "Hidden; the script then clicks it."
    sanitize: gr.Button
    train: gr.Button
    compare: gr.Button
    "Adds the embedding to those that are compared."
    notes: dict[str, Any]
    "The widget of each field of Notes."
    save_notes: gr.Button
    image: gr.UploadButton
    run: gr.Dropdown
    take_run: gr.Button
    prompt: gr.Textbox
    draw: gr.Button
    name: gr.Textbox
    rename: gr.Button
    copy: gr.Button
    delete: gr.Button
    undo: gr.Button
    undoing: gr.State
    "What the undo button takes back: a list of an `undo.UndoKind` and what `undo` needs for it; empty if nothing."
    restore_as: gr.Textbox
    restore_under: gr.Button
    replace: gr.Button
    leave: gr.Button
    files: library_files.Files
    near: gr.Checkbox
    inspect: gr.Button
    report: gr.HTML


def build(status: gr.HTML, suffixes: Sequence[str]) -> Chosen:
    """Add the widgets to the Blocks being built.

    Args:
        status: Shows the messages of actions.
        suffixes: Suffixes of the files that the host loads.
    """
    undoing = gr.State([])
    undo = gr.Button(t("Undo"), size="sm", elem_id="te_library_undo")
    taken = _build_taken()
    details = gr.HTML("", elem_id="te_library_details")
    with gr.Column(elem_classes=["te-hidden"]):
        selected = gr.Textbox("", show_label=False, elem_id="te_library_selected")
        select = gr.Button("Show details", elem_id="te_library_select")
    sanitize = gr.Button(t(SANITIZE), variant="primary", size="sm", elem_id="te_library_sanitize")
    with gr.Column(elem_id="te_library_chosen"):
        with gr.Row():
            train = gr.Button(t("Train further"), size="sm", elem_id="te_library_train")
            gr.Button(t("Compare steps"), size="sm", elem_id="te_library_compare")  # the script opens the run in the sub-tab Runs
            compare = gr.Button(t("Compare with others"), size="sm", elem_id="te_library_together")
        with gr.Accordion(t("Notes"), open=False):
            notes = build_notes()
            save_notes = gr.Button(t("Save notes"), elem_id="te_library_save_notes")
        with gr.Accordion(t("Inspect"), open=False):
            near = gr.Checkbox(
                False,
                label=t("Nearest embeddings"),
                info=t("Also compares with every embedding of the same model family."),
                elem_id="te_library_neighbours",
            )
            inspect = gr.Button(t("Inspect"), elem_id="te_library_inspect")
            report = gr.HTML("", elem_id="te_library_report")
        with gr.Accordion(t("Preview image"), open=False):
            image = upload_button(t("Upload an image"), file_types=["image"], size="sm", elem_id="te_library_picture")
            with gr.Row(elem_classes=["te-line"]):
                run = gr.Dropdown(
                    choices=[],
                    label=t(actions.TRAINING_RUN),
                    info=t("The newest preview of the run becomes the preview image."),
                    allow_custom_value=True,
                    elem_id="te_library_run",
                )
                take_run = gr.Button(t("Use the preview"), elem_id="te_library_take_run")
            with gr.Row(elem_classes=["te-line"]):
                prompt = gr.Textbox(
                    "[name]", label=t("Prompt"), info=t("[name] is the trigger word."), elem_id="te_library_prompt"
                )
                draw = gr.Button(t("Generate"), elem_id="te_library_draw_preview")
        with gr.Accordion(t("Rename, copy, delete"), open=False):
            with gr.Row(elem_classes=["te-line"]):
                name = gr.Textbox("", label=t("New name"), max_lines=1, elem_id="te_library_new_name")
                rename = gr.Button(t("Rename"), elem_id="te_library_rename")
                copy = gr.Button(t("Copy"), elem_id="te_library_copy")
            delete = gr.Button(t("Delete"), variant="stop", elem_id="te_library_delete")
        files = library_files.build(suffixes)
    return Chosen(
        status, details, selected, select, sanitize, train, compare, notes, save_notes, image, run, take_run, prompt, draw, name,
        rename, copy, delete, undo, undoing, *taken, files, near, inspect, report,
    )  # fmt: skip


def _build_taken() -> tuple[gr.Textbox, gr.Button, gr.Button, gr.Button]:
    """Add the widgets that are shown where a name is taken."""
    with gr.Column(elem_id="te_library_taken"):
        with gr.Row(elem_classes=["te-line"]):
            restore_as = gr.Textbox("", label=t("Name"), max_lines=1, elem_id="te_library_restore_as")
            restore_under = gr.Button(t(UNDER_NAME), elem_id="te_library_restore_under")
        with gr.Row():
            replace = gr.Button(t(REPLACE), size="sm", elem_id="te_library_replace")
            leave = gr.Button(t("Cancel"), size="sm", elem_id="te_library_leave")
    return restore_as, restore_under, replace, leave


def connect(services: Services, chosen: Chosen) -> Sequence[Any]:
    """Make the widgets work.

    Args:
        services: What the actions work on.
        chosen: The widgets.

    Returns:
        The events that may change the library, which others may follow.
    """

    def act(button: Any, do: Action, more: Sequence[Any] = (), **how: Any) -> Any:
        """Connect a button that changes the selected embedding."""

        @errors_in(chosen.status)
        def handle(key: str, *values: Any) -> dict[Any, Any]:
            entry, *messages = do(services, entry_of(services, key), *values)
            return {**shown(services, chosen, entry), chosen.status: html.message("good", *messages), chosen.undoing: []}

        handle.__name__ = do.__name__
        return button(handle, [chosen.selected, *more], every(chosen), **(how or AT_ONCE))

    @errors_in(chosen.status)
    def select(key: str) -> dict[Any, Any]:
        return {**shown(services, chosen, entry_of(services, key)), chosen.status: "", chosen.undoing: []}

    chosen.select.click(select, [chosen.selected], every(chosen), **AT_ONCE)
    library_files.connect_export(services, chosen.files, chosen.status, chosen.selected, lambda key: entry_of(services, key))
    _connect_report(services, chosen)
    return (
        act(chosen.save_notes.click, actions.save_notes, list(chosen.notes.values())),
        act(chosen.sanitize.click, actions.sanitize),
        act(chosen.copy.click, actions.copy, [chosen.name]),
        act(chosen.image.upload, actions.set_picture, [chosen.image]),
        act(chosen.take_run.click, actions.take_run, [chosen.run]),
        act(chosen.draw.click, actions.draw_preview, [chosen.prompt], **UNLISTED),
    )


def connect_training(services: Services, chosen: Chosen, embedding: gr.Dropdown, tabs: gr.Tabs) -> None:
    """Make the button that chooses the embedding for training work.

    Args:
        services: What the action works on.
        chosen: The widgets.
        embedding: The choice in the Train panel.
        tabs: The sub-tabs.
    """

    @errors_in(chosen.status)
    def train_further(key: str) -> dict[Any, Any]:
        entry = entry_of(services, key)
        if not entry.loaded:
            raise Conflict(msg('"{name}" cannot be trained.', name=entry.name), entry.reason)
        return {embedding: gr.update(value=entry.name), tabs: gr.update(selected="te_tab_train"), chosen.status: ""}

    chosen.train.click(train_further, [chosen.selected], [embedding, tabs, chosen.status], **AT_ONCE)


def entry_of(services: Services, key: str) -> Entry:
    """Return the embedding of a card.

    Raises:
        NotFound: No card is selected, or its embedding no longer exists.
    """
    if not key:
        raise NotFound(msg("No embedding is selected."), msg("Click a card first."))
    try:
        return services.library.at(key)
    except NotFound:  # the key in the page differs from the file name where that is not UTF-8
        for entry in services.library.list():
            if key_of(entry) == key:
                return entry
    raise NotFound(msg('"{file}" no longer exists.', file=key), msg("Click another card."))


def shown(services: Services, chosen: Chosen, entry: Entry) -> dict[Any, Any]:
    """Return the updates that show an embedding and clear what was shown of another."""
    values = notes_values(entry.notes)
    return {
        chosen.details: entry_details(entry, _newest_run(services, entry.name)),
        chosen.selected: key_of(entry),
        chosen.name: entry.name,
        chosen.run: gr.update(choices=_runs(services, entry.name), value=None),
        chosen.report: "",
        chosen.files.exported: "",
        **{chosen.notes[name]: value for name, value in values.items()},
    }


def every(chosen: Chosen) -> list[Any]:
    """Return the components that an action may update."""
    return [
        chosen.status, chosen.details, chosen.selected, chosen.name, chosen.run, chosen.report, chosen.files.exported,
        chosen.undoing, *chosen.notes.values(),
    ]  # fmt: skip


def _connect_report(services: Services, chosen: Chosen) -> None:
    @errors_in(chosen.status)
    def inspect(key: str, near: bool) -> dict[Any, Any]:
        entry = entry_of(services, key)
        embedding = services.library.read(entry.name, entry.path)
        report = services.inspection.report_of(embedding, neighbours=NEIGHBOURS if near else 0)
        heat_map = services.inspection.heat_map(report) if report.compared else None
        return {chosen.status: "", chosen.report: inspection_report(report, heat_map)}

    chosen.inspect.click(inspect, [chosen.selected, chosen.near], [chosen.status, chosen.report], **UNLISTED)


def _newest_run(services: Services, name: str) -> str:
    """Return the id of the newest run of an embedding; empty if there is none."""
    return max((run.id for run in services.runs.list() if run.embedding == name), default="")


def _runs(services: Services, name: str) -> list[str]:
    """Return the labels of runs with previews, those of this embedding first."""
    runs = [run for run in services.runs.list() if run.previews]
    return [run_label(run) for run in sorted(runs, key=lambda run: run.embedding != name)]
