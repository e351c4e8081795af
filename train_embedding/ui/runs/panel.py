"""The Runs panel: a list that can be searched, and for the selected run its facts, a note, and what can be done with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from train_embedding.errors import InvalidInput
from train_embedding.messages import msg
from train_embedding.translations import t
from train_embedding.ui import fields
from train_embedding.ui import html as messages
from train_embedding.ui.error_handling import errors_in
from train_embedding.ui.gradio_compat import AT_ONCE
from train_embedding.ui.runs import html

if TYPE_CHECKING:
    from train_embedding.services import Services
    from train_embedding.services.training import RunEntry

PAGE = 30
"Number of runs that the list shows first, and that each click on the button below it adds."
Updates = dict[Any, Any]


@dataclass(frozen=True)
class Hidden:
    """Hidden widgets that must be in the page before the panel is, because the poll and the script use them."""

    version: gr.Textbox
    "Changes with the history."
    update: gr.Button
    "The script then clicks it for the list."


@dataclass(frozen=True)
class RunsPanel:
    """The widgets."""

    search: gr.Textbox
    cards: gr.HTML
    more: gr.Button
    status: gr.HTML
    details: gr.HTML
    note: gr.Textbox
    save_note: gr.Button
    use: gr.Button
    resume: gr.Button
    compare: gr.Button
    delete: gr.Button
    undo: gr.Button
    deleted: gr.Textbox
    "Hidden; the id in the trash that the undo button restores."
    selected: gr.Textbox
    "Hidden; the script writes the id of the clicked run here."
    select: gr.Button
    "Hidden; the script then clicks it."
    shown: gr.Textbox
    "Hidden; number of runs that the list shows."
    hidden: Hidden


def build_hidden() -> Hidden:
    """Add the hidden widgets to the Blocks being built."""
    return Hidden(
        version=gr.Textbox("", show_label=False, elem_id="te_runs_version"),
        update=gr.Button("Show the runs", elem_id="te_runs_update"),
    )


def build(hidden: Hidden) -> RunsPanel:
    """Add the panel to the Blocks being built."""
    with gr.Row(equal_height=False, elem_id="te_runs_columns"):
        with gr.Column(scale=5, min_width=300):
            search = gr.Textbox(
                "", label=t("Search"), max_lines=1, elem_id="te_runs_search",
                info=t("Names, datasets, checkpoints, changed settings, results and notes."),
            )  # fmt: skip
            cards = gr.HTML("", elem_id="te_runs_list")
            more = gr.Button(t("Show more"), size="sm", elem_id="te_runs_more")
        with gr.Column(scale=4, min_width=300):
            status = gr.HTML("", elem_id="te_runs_status")
            undo = gr.Button(t("Undo delete"), size="sm", elem_id="te_runs_undo")
            details = gr.HTML("", elem_id="te_runs_details")
            with gr.Column(elem_id="te_runs_chosen"):
                with gr.Row():
                    use = gr.Button(t("Use these settings again"), size="sm", elem_id="te_runs_use")
                    resume = gr.Button(t(messages.RESUME), interactive=False, size="sm", elem_id="te_runs_resume")
                    compare = gr.Button(t("Compare steps"), size="sm", elem_id="te_runs_compare")
                    delete = gr.Button(t("Delete"), variant="stop", size="sm", elem_id="te_runs_delete")
                with gr.Row(elem_classes=["te-line"]):
                    note = gr.Textbox("", label=t("Your note"), lines=2, max_lines=8, elem_id="te_runs_note")
                    save_note = gr.Button(t("Save note"), elem_id="te_runs_save_note")
    with gr.Column(elem_classes=["te-hidden"]):
        deleted = gr.Textbox("", show_label=False, elem_id="te_runs_deleted")
        selected = gr.Textbox("", show_label=False, elem_id="te_runs_selected")
        select = gr.Button("Show the run", elem_id="te_runs_select")
        shown = gr.Textbox(str(PAGE), show_label=False, elem_id="te_runs_shown")
    return RunsPanel(
        search, cards, more, status, details, note, save_note, use, resume, compare, delete, undo, deleted, selected,
        select, shown, hidden,
    )  # fmt: skip


def parts(services: Services, panel: RunsPanel) -> dict[str, tuple[Any, Callable[[], Updates]]]:
    """Return what the poll updates: the version alone, after which the script requests the list."""
    version = services.runs.history_version()
    return {"runs": (version, lambda: {panel.hidden.version: version})}


def connect(services: Services, panel: RunsPanel, options: Mapping[str, Any], tabs: gr.Tabs) -> Sequence[Any]:
    """Make everything in the panel work.

    Args:
        services: What the panel works on.
        panel: The panel.
        options: The Train panel's widget of each option, for the settings of a run.
        tabs: The sub-tabs, of which the Train panel's is opened then.

    Returns:
        The events that start a run or change the history, which others may follow; the last one fills in the options.
    """
    _connect_list(services, panel)
    return (*_connect_changes(services, panel), _connect_use(services, panel, options, tabs))


def _connect_list(services: Services, panel: RunsPanel) -> None:
    def listed(search: str, shown: str) -> Updates:
        count = int(shown) if shown.isdecimal() else PAGE
        version = services.runs.history_version()  # before reading, so that a change meanwhile is not missed
        entries = services.runs.history(search)
        cards = html.run_list(entries, count, version, searched=bool(search.strip()))
        return {panel.cards: cards, panel.more: gr.update(interactive=len(entries) > count), panel.shown: str(count)}

    @errors_in(panel.status)
    def update_runs(search: str, shown: str, selected: str) -> Updates:
        entry = next((entry for entry in services.runs.history() if entry.state.id == selected), None)
        return {**listed(search, shown), **({} if entry is None else _shown(panel, entry, with_note=False))}

    @errors_in(panel.status)
    def search_runs(search: str) -> Updates:
        return listed(search, str(PAGE))

    @errors_in(panel.status)
    def show_more_runs(search: str, shown: str) -> Updates:
        return listed(search, str(int(shown) + PAGE))

    @errors_in(panel.status)
    def select_run(selected: str) -> Updates:
        return {**_shown(panel, services.runs.entry(selected)), panel.status: "", panel.deleted: ""}

    outputs = [panel.status, panel.cards, panel.more, panel.shown]
    chosen = [panel.details, panel.resume, panel.delete]
    panel.hidden.update.click(update_runs, [panel.search, panel.shown, panel.selected], outputs + chosen, **AT_ONCE)
    panel.search.change(search_runs, [panel.search], outputs, **AT_ONCE)
    panel.more.click(show_more_runs, [panel.search, panel.shown], outputs, **AT_ONCE)
    panel.select.click(select_run, [panel.selected], [panel.status, panel.deleted, panel.note, *chosen], **AT_ONCE)


def _connect_changes(services: Services, panel: RunsPanel) -> Sequence[Any]:
    @errors_in(panel.status)
    def save_run_note(selected: str, note: str) -> Updates:
        entry = services.runs.set_note(_needed(selected), note)
        return {**_shown(panel, entry), panel.status: messages.message("good", msg("Note saved."))}

    @errors_in(panel.status)
    def resume_run(selected: str) -> Updates:
        services.runs.resume(_needed(selected))
        text = msg('The run continues. "{tab}" shows its progress.', tab=msg("Train"))
        return {**_shown(panel, services.runs.entry(selected)), panel.status: messages.message("good", text)}

    @errors_in(panel.status)
    def delete_run(selected: str) -> Updates:
        entry = services.runs.entry(_needed(selected))
        trash_id = services.runs.delete(selected)
        message = html.deletion_message(entry)
        return {panel.details: "", panel.selected: "", panel.note: "", panel.status: message, panel.deleted: trash_id}

    @errors_in(panel.status)
    def undo_run(trash_id: str) -> Updates:
        entry = services.runs.restore(trash_id)
        text = msg("Restored the run {run}.", run=entry.state.id)
        changed = {panel.selected: entry.state.id, panel.deleted: "", panel.status: messages.message("good", text)}
        return {**_shown(panel, entry), **changed}

    every = [panel.status, panel.details, panel.selected, panel.note, panel.deleted, panel.resume, panel.delete]
    return (
        panel.save_note.click(save_run_note, [panel.selected, panel.note], every, **AT_ONCE),
        panel.resume.click(resume_run, [panel.selected], every, **AT_ONCE),
        panel.delete.click(delete_run, [panel.selected], every, **AT_ONCE),
        panel.undo.click(undo_run, [panel.deleted], every, **AT_ONCE),
    )


def _connect_use(services: Services, panel: RunsPanel, options: Mapping[str, Any], tabs: gr.Tabs) -> Any:
    @errors_in(panel.status)
    def use_run(selected: str) -> Updates:
        values = fields.initial_values(services.runs.get(_needed(selected)).spec.to_json())
        filled = {options[name]: gr.update(value=fields.widget_value(name, value)) for name, value in values.items()}
        return {**filled, tabs: gr.update(selected="te_tab_train"), panel.status: ""}

    return panel.use.click(use_run, [panel.selected], [panel.status, tabs, *options.values()], **AT_ONCE)


def _shown(panel: RunsPanel, entry: RunEntry, with_note: bool = True) -> Updates:
    """Return the updates that show a run; without the note, which the user may be writing."""
    state = entry.state
    note = {panel.note: entry.note} if with_note else {}
    return {
        panel.details: html.run_details(entry),
        panel.resume: gr.update(interactive=state.resumable),
        panel.delete: gr.update(interactive=not state.active),
        **note,
    }


def _needed(selected: str) -> str:
    if not selected:
        raise InvalidInput(msg("No run is selected."), msg("Click one in the list first."))
    return selected
