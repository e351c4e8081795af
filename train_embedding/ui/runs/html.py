"""The list of runs and the details of one, as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from train_embedding.engine.config import OPTIONS
from train_embedding.messages import DOT, NOTHING, Message, joined, msg, plural, verbatim
from train_embedding.ui import html
from train_embedding.ui.library import thumbnails
from train_embedding.ui.library.cards import printable
from train_embedding.ui.templates import render

if TYPE_CHECKING:
    from markupsafe import Markup

    from train_embedding.services.training import RunEntry

PACKED = msg("A packed prompt")
_OPTIONS = {option.name: option for option in OPTIONS}


def run_list(entries: Sequence[RunEntry], shown: int, version: str, searched: bool) -> Markup:
    """Return the cards of the first runs.

    Args:
        entries: All runs of the list.
        shown: Number of cards.
        version: Of the history.
        searched: Whether the list is the result of a search.
    """
    nothing = msg("No run matches the search.") if searched else msg("No run yet. Each training is listed here.")
    count = plural("{count} run", "{count} runs", len(entries))
    return render("runs", cards=[_card(entry) for entry in entries[:shown]], version=version, nothing=nothing, count=count)


def run_details(entry: RunEntry) -> Markup:
    """Return the facts about a run, with its newest preview."""
    state = entry.state
    portrait = thumbnails.portrait(entry.preview) if entry.preview else ""
    notes = [state.error, state.hint, *state.notes]
    facts = [(title, printable(value)) for title, value in _facts(entry)]
    return render("run_details", run=state, portrait=portrait, facts=facts, notes=notes, changed=changed_options(entry))


def deletion_message(entry: RunEntry) -> Markup:
    """Return the message about a deleted run; its class shows the undo button."""
    return render("deleted", text=msg("The run {run} is in the trash.", run=entry.state.id))


def changed_options(entry: RunEntry) -> list[tuple[Message, str]]:
    """Return the label and the value of each option that differs from the run's preset."""
    return [(option_text(name), printable(value_text(name, value))) for name, value in entry.changed.items()]


def option_text(name: str) -> Message:
    """Return the label of an option."""
    return _OPTIONS[name].label


def value_text(name: str, value: Any) -> Message:
    """Return the value of an option as its widget shows it."""
    option = _OPTIONS[name]
    if option.kind == "flag":
        return msg("on") if value else msg("off")
    if option.kind == "lines":
        return joined([verbatim(line) for line in value])
    if option.kind == "choice":
        return next((label for label, word in option.labelled_choices() if word == value), verbatim(str(value)))
    return verbatim(f"{value:g}" if isinstance(value, float) else str(value)) if value != "" else NOTHING


def _card(entry: RunEntry) -> dict[str, object]:
    state = entry.state
    return {
        "id": state.id,
        "status": state.status,
        "name": printable(state.embedding),
        "image": thumbnails.address(entry.preview) if entry.preview else "",
        "progress": joined(
            [html.status_name(state), html.trained_steps(state.step), verbatim(html.duration(state.seconds))], DOT
        ),
        "about": joined([verbatim(_when(entry)), value_text("preset", state.spec.preset), _dataset_name(entry)], DOT),
        "note": printable(entry.note.partition("\n")[0]),
    }


def _facts(entry: RunEntry) -> list[tuple[Message, str]]:
    state = entry.state
    step = msg("step {step} of {steps}", step=state.step, steps=state.steps)
    return [
        (msg("Status"), joined([html.status_name(state), step], DOT)),
        (msg("Started"), verbatim(_when(entry))),
        (msg("Time"), verbatim(html.duration(state.seconds))),
        (msg("Samples"), verbatim(f"{entry.samples:,}")),
        (msg("Loss"), verbatim("" if state.loss is None else f"{state.loss:.4f}")),
        (msg("Best step"), verbatim("" if state.best_step is None else str(state.best_step))),
        (msg("Saved step"), verbatim("" if state.saved_step is None else str(state.saved_step))),
        (msg("Checkpoint"), verbatim(state.checkpoint)),
        (msg("Dataset"), PACKED if state.spec.distills else verbatim(state.spec.dataset)),
        (msg("Preset"), value_text("preset", state.spec.preset)),
        (msg("Saved to"), verbatim(str(state.result or ""))),
        (msg("Folder"), verbatim(str(state.folder))),
    ]


def _dataset_name(entry: RunEntry) -> Message:
    return PACKED if entry.state.spec.distills else verbatim(printable(Path(entry.state.spec.dataset).name))


def _when(entry: RunEntry) -> str:
    return entry.started.strftime("%Y-%m-%d %H:%M") if entry.started else entry.state.id
