"""The list of the training queue as HTML."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from train_embedding.messages import COLON, DOT, NOTHING, SPACE, Message, joined, msg, plural, verbatim
from train_embedding.ui import html
from train_embedding.ui.library.cards import printable
from train_embedding.ui.runs.html import PACKED, option_text, value_text
from train_embedding.ui.templates import render

if TYPE_CHECKING:
    from markupsafe import Markup

    from train_embedding.services.training import QueueContents, QueueEntry

CONTINUE = msg("Continue")
SHOWN_NAMES = 5
"Number of embeddings that the sub-tab Train names."
SHOWN_WAITING, SHOWN_ENDED = 100, 50
"Number of trainings that wait, and of those that are over, in the list."
SHOWN_OPTIONS = 6
"Number of changed settings that a row shows."
_STATUS = {
    "waiting": msg("Waiting"),
    "running": msg("Training"),
    "interrupted": msg("Will be resumed"),
    "finished": msg("Finished"),
    "stopped": msg("Stopped"),
    "failed": msg("Failed"),
}


def queue_list(contents: QueueContents, version: str) -> Markup:
    """Return the rows of the queue, the present training first, then those that wait in their order, then those that are over.

    Args:
        contents: The queue.
        version: Of the queue, which the script compares with that of the poll.
    """
    running = [entry for entry in contents.entries if entry.status == "running"]
    waiting = contents.to_begin
    ended = [entry for entry in contents.entries if not entry.unfinished]
    rows = [_row(entry, 0, len(waiting)) for entry in running]
    rows += [_row(entry, place, len(waiting)) for place, entry in enumerate(waiting[:SHOWN_WAITING], 1)]
    rows += [_row(entry, 0, len(waiting)) for entry in reversed(ended[-SHOWN_ENDED:])]
    left_out = max(0, len(waiting) - SHOWN_WAITING) + max(0, len(ended) - SHOWN_ENDED)
    return render(
        "queue",
        rows=rows,
        more=msg("… and {number} more", number=left_out) if left_out else NOTHING,
        version=version,
        count=_count(contents),
        paused=_paused(contents),
        is_paused=contents.paused,
        nothing=msg('The queue is empty. "{button}" on the sub-tab "{tab}" adds training jobs, which run one after the other.',
                    button=msg("Add to queue"), tab=msg("Train")),
    )  # fmt: skip


def removal_message(entry: QueueEntry) -> Markup:
    """Return the message about a removed training; its class shows the undo button."""
    return render("deleted", text=msg("Removed {name} from the queue.", name=entry.spec.embedding))


def addition_message(entry: QueueEntry, position: int) -> Markup:
    """Return the message about a training that was added."""
    text = msg("Added {name} to the queue, at position {position}.", name=entry.spec.embedding, position=position)
    where = msg('The queue is on the sub-tab "{tab}".', tab=msg("Runs"))
    return html.message("good", text, where, *entry.notes)


def waiting_line(contents: QueueContents) -> Markup | str:
    """Return what waits, for the sub-tab Train; an empty text if nothing does."""
    names = [verbatim(printable(entry.spec.embedding)) for entry in contents.to_begin]
    if not names:
        return ""
    shown = [*names[:SHOWN_NAMES], verbatim("…") if len(names) > SHOWN_NAMES else NOTHING]
    text = joined([_count(contents), joined(shown)], COLON)
    return html.message("quiet", text, _paused(contents, msg("Runs")))


def _count(contents: QueueContents) -> Message:
    if not contents.to_begin:
        return msg("No jobs are waiting in the queue.")
    return plural("{count} job waiting in the queue", "{count} jobs waiting in the queue", len(contents.to_begin))


def _paused(contents: QueueContents, tab: Message = NOTHING) -> Message:
    """Return that the queue is paused, and why; empty if it is not.

    Args:
        contents: The queue.
        tab: The sub-tab that has the button; empty on that sub-tab.
    """
    if not contents.paused:
        return NOTHING
    if contents.running is not None:
        return msg("The queue will pause after the current job.")
    hint = msg('Click "{button}" to start the waiting jobs.', button=CONTINUE)
    if tab:
        hint = msg('Click "{button}" on the sub-tab "{tab}" to start the waiting jobs.', button=CONTINUE, tab=tab)
    return joined([msg("The queue is paused."), contents.why_paused, hint if contents.to_begin else NOTHING], SPACE)


def _row(entry: QueueEntry, place: int, waiting: int) -> dict[str, object]:
    spec = entry.spec
    dataset = PACKED if spec.distills else verbatim(printable(Path(spec.dataset).name))
    status = msg("Next") if place == 1 and entry.status == "waiting" else _STATUS[entry.status]
    return {
        "id": entry.id,
        "status": entry.status,
        "run": entry.run,
        "place": place or "",
        "name": printable(spec.embedding),
        "facts": joined([status, value_text("preset", spec.preset), dataset], DOT),
        "settings": _settings(entry),
        "reason": joined(_reasons(entry), SPACE),
        "waits": entry.to_begin,
        "first": place == 1,
        "last": place == waiting,
        "removable": entry.status != "running",
        "retry": entry.status in ("failed", "stopped"),
    }


def _settings(entry: QueueEntry) -> Message:
    changed = list(entry.changed.items())
    texts = [joined([option_text(name), value_text(name, value)], COLON) for name, value in changed[:SHOWN_OPTIONS]]
    return joined([*texts, verbatim("…") if len(changed) > SHOWN_OPTIONS else NOTHING], DOT)


def _reasons(entry: QueueEntry) -> list[Message]:
    if entry.status == "stopped":
        return [*entry.notes[-1:]]
    return [entry.error, entry.hint] if entry.error else [*entry.notes] if entry.to_begin else []
