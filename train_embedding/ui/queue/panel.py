"""The queue on the sub-tab Runs: a list whose rows have buttons, a pause, and what is removed and restored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from train_embedding.errors import InvalidInput
from train_embedding.messages import msg, plural
from train_embedding.translations import t
from train_embedding.ui import html as messages
from train_embedding.ui.error_handling import errors_in, remember
from train_embedding.ui.gradio_compat import AT_ONCE
from train_embedding.ui.queue import html
from train_embedding.ui.training.panel import TrainPanel, read_spec, spec_inputs

if TYPE_CHECKING:
    from train_embedding.services import Services

Updates = dict[Any, Any]


@dataclass(frozen=True)
class Hidden:
    """Hidden widgets that must be in the page before the panel is, because the poll and the script use them."""

    version: gr.Textbox
    "Changes with the queue."
    update: gr.Button
    "The script then clicks it for the list."
    order: gr.Textbox
    "The script writes what a button of a row does and for which training, such as `up 3`."
    carry_out: gr.Button
    "The script then clicks it."
    removed: gr.Textbox
    "The training that the undo button restores."


@dataclass(frozen=True)
class QueuePanel:
    """The widgets."""

    rows: gr.HTML
    status: gr.HTML
    undo: gr.Button
    pause: gr.Button
    proceed: gr.Button
    clear: gr.Button
    hidden: Hidden


def build_hidden() -> Hidden:
    """Add the hidden widgets to the Blocks being built."""
    return Hidden(
        version=gr.Textbox("", show_label=False, elem_id="te_queue_version"),
        update=gr.Button("Show the queue", elem_id="te_queue_update"),
        order=gr.Textbox("", show_label=False, elem_id="te_queue_order"),
        carry_out=gr.Button("Change the queue", elem_id="te_queue_carry_out"),
        removed=gr.Textbox("", show_label=False, elem_id="te_queue_removed"),
    )


def build(hidden: Hidden) -> QueuePanel:
    """Add the panel to the Blocks being built."""
    gr.HTML(messages.panel_title(msg("Queue")))
    rows = gr.HTML("", elem_id="te_queue_list")
    status = gr.HTML("", elem_id="te_queue_status")
    with gr.Row(elem_id="te_queue_buttons"):
        pause = gr.Button(t("Pause"), size="sm", elem_id="te_queue_pause")
        proceed = gr.Button(t(html.CONTINUE), interactive=False, size="sm", elem_id="te_queue_continue")
        clear = gr.Button(t("Clear finished"), size="sm", elem_id="te_queue_clear")
        undo = gr.Button(t("Undo remove"), size="sm", elem_id="te_queue_undo")
    return QueuePanel(rows, status, undo, pause, proceed, clear, hidden)


def parts(services: Services, panel: QueuePanel, train: TrainPanel) -> dict[str, tuple[Any, Callable[[], Updates]]]:
    """Return what the poll updates: the version, after which the script requests the list, and a line on the sub-tab Train."""
    version, line = services.queue.version(), html.waiting_line(services.queue.contents())
    return {
        "queue": (version, lambda: {panel.hidden.version: version}),
        "line": (line, lambda: {train.queue_line: line}),
    }


def connect(services: Services, panel: QueuePanel, train: TrainPanel) -> Sequence[Any]:
    """Make everything in the panel work, and the Train panel's button "Add to queue".

    Returns:
        The events that change the queue, which others may follow.
    """
    _connect_list(services, panel)
    return (_connect_add(services, train), *_connect_changes(services, panel))


def _connect_add(services: Services, train: TrainPanel) -> Any:
    @errors_in(train.status)
    def add_to_queue(values: dict[Any, Any]) -> Updates:
        spec = read_spec(train, values)
        entry = services.queue.add(spec)
        remember(services, spec.to_json())
        position = max(1, services.queue.position(entry.id))  # it may have begun already
        return {train.status: html.addition_message(entry, position)}

    return train.enqueue.click(add_to_queue, spec_inputs(train), [train.status], **AT_ONCE)


def _connect_list(services: Services, panel: QueuePanel) -> None:
    @errors_in(panel.status)
    def update_queue() -> Updates:
        return _shown(services, panel)

    panel.hidden.update.click(update_queue, [], [panel.status, *_shown_widgets(panel)], **AT_ONCE)


def _connect_changes(services: Services, panel: QueuePanel) -> Sequence[Any]:
    hidden = panel.hidden

    @errors_in(panel.status)
    def change_queue(order: str) -> Updates:
        act, _, entry_id = order.partition(" ")
        said: Updates = {panel.status: "", hidden.removed: ""}
        if act in ("up", "down"):
            step = 1 if act == "down" else -1
            services.queue.move(entry_id, max(1, services.queue.position(entry_id) + step))
        elif act == "retry":
            services.queue.retry(entry_id)
        elif act == "remove":
            said = {panel.status: html.removal_message(services.queue.remove(entry_id)), hidden.removed: entry_id}
        else:
            raise InvalidInput(msg("This button does nothing."), msg("Reload the page."))
        return {**_shown(services, panel), **said}

    @errors_in(panel.status)
    def undo_removal(entry_id: str) -> Updates:
        entry = services.queue.restore(entry_id)
        text = msg("{name} is back at the end of the queue.", name=entry.spec.embedding)
        return {**_shown(services, panel), panel.status: messages.message("good", text), hidden.removed: ""}

    @errors_in(panel.status)
    def pause_queue() -> Updates:
        services.queue.pause()
        return {**_shown(services, panel), panel.status: ""}

    @errors_in(panel.status)
    def continue_queue() -> Updates:
        services.queue.proceed()
        return {**_shown(services, panel), panel.status: ""}

    @errors_in(panel.status)
    def clear_queue() -> Updates:
        count = services.queue.clear_ended()
        text = plural("Removed {count} job from the list.", "Removed {count} jobs from the list.", count)
        kept = msg("Their runs are listed below.")
        said = messages.message("good", text, kept) if count else messages.message("quiet", msg("No job has ended yet."))
        return {**_shown(services, panel), panel.status: said, hidden.removed: ""}

    every = [panel.status, hidden.removed, *_shown_widgets(panel)]
    return (
        hidden.carry_out.click(change_queue, [hidden.order], every, **AT_ONCE),
        panel.undo.click(undo_removal, [hidden.removed], every, **AT_ONCE),
        panel.pause.click(pause_queue, [], every, **AT_ONCE),
        panel.proceed.click(continue_queue, [], every, **AT_ONCE),
        panel.clear.click(clear_queue, [], every, **AT_ONCE),
    )


def _shown_widgets(panel: QueuePanel) -> list[Any]:
    return [panel.rows, panel.pause, panel.proceed]


def _shown(services: Services, panel: QueuePanel) -> Updates:
    version = services.queue.version()  # before reading, so that a change meanwhile is not missed
    contents = services.queue.contents()
    return {
        panel.rows: html.queue_list(contents, version),
        panel.pause: gr.update(interactive=not contents.paused),
        panel.proceed: gr.update(interactive=contents.paused),
    }
