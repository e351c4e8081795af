"""Details of an embedding, and the messages of the Library panel."""

from __future__ import annotations

import base64
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from train_embedding.messages import COLON, DOT, NOTHING, SPACE, Message, joined, msg, plural, verbatim
from train_embedding.ui import html
from train_embedding.ui.library import thumbnails
from train_embedding.ui.library.cards import key_of, printable
from train_embedding.ui.templates import render

if TYPE_CHECKING:
    from markupsafe import Markup

    from train_embedding.services.library import Entry, Imported, Trashed
    from train_embedding.services.training import RunState

BOXES = (
    ("txt2img_prompt", msg("txt2img prompt")),
    ("txt2img_neg_prompt", msg("txt2img negative prompt")),
    ("img2img_prompt", msg("img2img prompt")),
    ("img2img_neg_prompt", msg("img2img negative prompt")),
)
"The host's prompt boxes: ids and titles. The script hides the buttons of boxes that the page lacks."
FACTS = (
    msg("Model family"),
    msg("Vectors"),
    msg("Width"),
    msg("Trained steps"),
    msg("Checkpoint"),
    msg("Format"),
    msg("Hash"),
    msg("Size"),
    msg("Modified"),
    msg("File"),
    msg("Not loaded"),
)

SANITIZE = msg("Sanitize")
_HOW_TO_SANITIZE = msg('"{button}" extracts its vectors into a safe file; nothing in the file is executed.', button=SANITIZE)
_UNREADABLE = msg("Its vectors cannot be read. Delete the file and download it again.")


def entry_details(entry: Entry, run: str = "") -> Markup:
    """Return the facts about an embedding, its warnings, and buttons that write it into a prompt.

    Args:
        entry: The embedding.
        run: The id of its newest run, whose steps can be compared; empty if there is none.
    """
    return render(
        "details",
        name=printable(entry.name),
        key=key_of(entry),
        run=run,
        notes=entry.notes,
        portrait=thumbnails.portrait(entry.preview) if entry.preview else "",
        boxes=BOXES if entry.loaded else (),
        unsafe_reason=printable(entry.unsafe_reason),
        can_sanitize=entry.can_sanitize,
        unsafe_hint=_HOW_TO_SANITIZE if entry.can_sanitize else _UNREADABLE,
        warnings=entry.warnings,
        facts=[(title, printable(value)) for title, value in zip(FACTS, _fact_values(entry), strict=True)],
    )


def _fact_values(entry: Entry) -> tuple[str, ...]:
    """Return the values of `FACTS`; empty ones are not shown."""
    return (
        entry.family,
        str(entry.vectors or ""),
        ", ".join(f"{key} {width}" for key, width in sorted(entry.widths.items())),
        html.trained_steps(entry.step) if entry.vectors else "",
        entry.checkpoint or "",
        entry.format,
        entry.hash,
        size(entry.size),
        when(entry.modified),
        str(entry.file),
        entry.reason,
    )


def size(count: int) -> Message:
    """Return a number of bytes as a size, such as "3.1 KB"."""
    if count < 1000:
        return plural("{count} byte", "{count} bytes", count)
    amount, unit = next((count / factor, unit) for unit, factor in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)) if count >= factor)
    return verbatim(f"{amount:.0f} {unit}" if amount >= 100 and unit != "GB" else f"{amount:.1f} {unit}")


def when(moment: float) -> str:
    """Return a time as "2026-11-25 14:30", in the server's time zone."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(moment))


def undoable_message(text: Message, *more: Message) -> Markup:
    """Return the message about an action that can be undone; its class shows the undo button."""
    return render("deleted", text=text, more=more)


def restore_message(entries: Sequence[Entry], undoable: bool = False) -> Markup:
    """Return the message about a restored item of the trash, which may be a file that is no embedding, such as an image."""
    names = joined([printable(entry.name) for entry in entries])
    text = msg("Restored {names}.", names=names) if entries else msg("Restored.")
    return undoable_message(text) if undoable else html.message("good", text)


def download_link(file_name: str, data: bytes) -> Markup:
    """Return a link that contains the file, so that no host has to serve it; the script follows the link at once."""
    address = "data:application/octet-stream;base64," + base64.b64encode(data).decode("ascii")
    return render("download", serial=time.monotonic_ns(), file_name=file_name, address=address, size=size(len(data)))


def import_message(results: Sequence[Imported]) -> Markup:
    """Return how many embeddings were imported, with a line for each file that was rejected or changed."""
    if not results:
        return html.message("bad", msg("No file was received."), msg("Select at least one file."))
    imported = sum(result.entry is not None for result in results)
    rejected = len(results) - imported
    title = (
        plural("{count} embedding imported.", "{count} embeddings imported.", imported)
        if imported
        else msg("No embedding was imported.")
    )
    if imported and rejected:
        title = joined([title, plural("{count} file was rejected.", "{count} files were rejected.", rejected)], SPACE)
    lines = [_problem_line(result) for result in results if result.problem or result.note]
    return html.message("good" if imported else "bad", title, *lines)


def _problem_line(result: Imported) -> Message:
    """Return the sentence about a file, after the file's name unless it begins with that."""
    sentence = result.problem or result.note
    named = NOTHING if sentence.startswith(f'"{result.file}"') else verbatim(result.file)
    return verbatim(printable(joined([named, sentence], COLON)))


def run_label(run: RunState) -> str:
    """Return the label of a run, such as "my-cat · step 400 · 20261125-143000-123"."""
    return printable(joined([run.embedding, msg("step {step}", step=run.step), run.id], DOT))


def run_of(label: str) -> str:
    """Return the id at the end of a run's label; a Dropdown of gradio 3 has no values besides its labels."""
    return label.rpartition(DOT)[2]


def trash_label(item: Trashed) -> str:
    """Return the label of an item, such as "my-cat.pt · 2026-11-25 14:30 · 3.1 KB · my-cat.20261125-143005".

    The id at its end identifies the item.
    """
    return printable(joined([item.file, when(item.when), size(item.size), item.id], DOT))
