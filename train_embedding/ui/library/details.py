"""What the Library panel says about one embedding."""

from __future__ import annotations

import base64
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from train_embedding.ui import html
from train_embedding.ui.library import thumbnails
from train_embedding.ui.library.cards import key_of, printable
from train_embedding.ui.templates import render

if TYPE_CHECKING:
    from markupsafe import Markup

    from train_embedding.services.library import Entry, Imported, Trashed
    from train_embedding.services.training import RunState

BOXES = (
    ("txt2img_prompt", "txt2img prompt"), ("txt2img_neg_prompt", "txt2img negative"),
    ("img2img_prompt", "img2img prompt"), ("img2img_neg_prompt", "img2img negative"),
)  # fmt: skip
"The host's prompt boxes: id, and what they are called; the script hides the buttons of those that are not there."
FACTS = (
    "Model family", "Vectors", "Width", "Trained steps", "Checkpoint", "Form", "Hash", "Size", "Changed", "File", "Not loaded",
)  # fmt: skip


def entry_details(entry: Entry) -> Markup:
    """Return the facts about an embedding, its warnings, and buttons that write it into a prompt."""
    return render(
        "details",
        name=printable(entry.name),
        key=key_of(entry),
        notes=entry.notes,
        portrait=thumbnails.portrait(entry.preview) if entry.preview else "",
        boxes=BOXES if entry.loaded else (),
        unsafe_reason=printable(entry.unsafe_reason),
        can_sanitize=entry.can_sanitize,
        warnings=entry.warnings,
        facts=[(title, printable(value)) for title, value in zip(FACTS, _fact_values(entry), strict=True)],
    )


def _fact_values(entry: Entry) -> tuple[str, ...]:
    """Return the values of `FACTS`; empty ones are not shown."""
    return (
        entry.family,
        str(entry.vectors or ""),
        ", ".join(f"{key} {width}" for key, width in sorted(entry.widths.items())),
        html.steps(entry.step) if entry.vectors else "",
        entry.checkpoint or "",
        entry.format,
        entry.hash,
        size(entry.size),
        when(entry.modified),
        str(entry.file),
        entry.reason,
    )


def size(count: int) -> str:
    """ "3.1 KB"."""
    for unit in ("bytes", "KB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" or count >= 100 else f"{count:.1f} {unit}"
        count = count / 1000  # type: ignore[assignment]
    return f"{count:.1f} GB"


def when(moment: float) -> str:
    """ "2026-11-25 14:30", in the server's time."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(moment))


def deletion_message(name: str) -> Markup:
    """The class shows the undo button."""
    return render("deleted", text=f"{name} is in the trash.")


def restore_message(entries: Sequence[Entry]) -> Markup:
    """What a restored item of the trash brought back; one that lay there alone, such as a picture, is no entry."""
    names = ", ".join(printable(entry.name) for entry in entries)
    return html.message("good", f"{names} is back." if names else "It is back.")


def download_link(file_name: str, data: bytes) -> Markup:
    """A link that holds the file itself, which no host has to serve; the script follows it at once."""
    address = "data:application/octet-stream;base64," + base64.b64encode(data).decode("ascii")
    return render("download", serial=time.monotonic_ns(), file_name=file_name, address=address, size=size(len(data)))


def import_message(results: Sequence[Imported]) -> Markup:
    """How many came, and a line for each that did not, or not as it was."""
    if not results:
        return html.message("bad", "No file came.")
    good = [result for result in results if result.entry is not None]
    refused = len(results) - len(good)
    title = f"{html.count(len(good), 'embedding')} imported." if good else "Nothing was imported."
    if good and refused:
        title = f"{title} {html.count(refused, 'file')} refused."
    lines = [_problem_line(result) for result in results if result.problem or result.note]
    return html.message("good" if good else "bad", title, *lines)


def _problem_line(result: Imported) -> str:
    """The sentence, after the file's name where it does not begin with that."""
    sentence = result.problem or result.note
    return printable(sentence if sentence.startswith(f'"{result.file}"') else f"{result.file}: {sentence}")


def run_label(run: RunState) -> str:
    """ "my-cat · step 400 · 20261125-143000-123"; `run_of` gives the id back."""
    return printable(f"{run.embedding} · step {run.step} · {run.id}")


def run_of(label: str) -> str:
    """The id at a label's end; gradio 3 shows both parts of a choice that has a label and a value."""
    return label.rpartition(" · ")[2]


def trash_label(item: Trashed) -> str:
    """ "my-cat.pt · 2026-11-25 14:30 · 3.1 KB · my-cat.20261125-143005"; the id at its end tells it from all others."""
    return printable(f"{item.file} · {when(item.when)} · {size(item.size)} · {item.id}")
