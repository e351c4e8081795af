"""What the Library panel says about one embedding."""

from __future__ import annotations

import base64
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from markupsafe import Markup

from train_embedding.ui import html
from train_embedding.ui.library import thumbnails
from train_embedding.ui.library.cards import key_of, printable

if TYPE_CHECKING:
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
ADVICE = (
    "Its vectors can be read without running anything: sanitize it, or delete it.",
    "Its vectors cannot be read. Delete it and download it again.",
)
"For an unsafe file: one that can be sanitized, one that cannot."
_SEND = Markup("<button type='button' class='te-send' data-box='{}' hidden>{}</button>")
_DOWNLOAD = Markup("<a class='te-download' dir='auto' data-serial='{}' download='{}' href='{}'>{}</a> <small>{}</small>")
_ROW = Markup("<tr><th>{}</th><td dir='auto'>{}</td></tr>")
_PORTRAIT = Markup("<img class='te-portrait' alt='' src='{}'>")
_DETAILS = Markup(
    "<div class='te-details' data-name='{}' data-key='{}' data-weight='{}' data-activation='{}' data-negative='{}'>"
    "<h4 dir='auto'>{}</h4>{}<div class='te-sends'>{}</div>{}<table>{}</table></div>"
)


def details(entry: Entry) -> Markup:
    """Facts and remarks, and buttons that write the embedding into a prompt."""
    widths = ", ".join(f"{key} {width}" for key, width in sorted(entry.widths.items()))
    values = (
        entry.family, str(entry.vectors or ""), widths, html.steps(entry.step) if entry.vectors else "", entry.checkpoint or "",
        entry.format, entry.hash, size(entry.size), when(entry.modified), str(entry.file), entry.reason,
    )  # fmt: skip
    notes, picture = entry.notes, thumbnails.portrait(entry.preview) if entry.preview else ""
    return _DETAILS.format(
        printable(entry.name), key_of(entry), notes.preferred_weight or "", notes.activation_text, notes.negative_text,
        printable(entry.name), _PORTRAIT.format(picture) if picture else "",
        html.join(_SEND.format(*box) for box in BOXES) if entry.loaded else "",
        _unsafe_reason(entry) + html.join(html.message("quiet", f"△ {remark}") for remark in entry.remarks),
        html.join(_ROW.format(name, printable(value)) for name, value in zip(FACTS, values, strict=True) if value),
    )  # fmt: skip


def _unsafe_reason(entry: Entry) -> Markup:
    """The class shows the Sanitize button."""
    if not entry.unsafe_reason:
        return Markup("")
    said = html.message("bad", printable(entry.unsafe_reason), ADVICE[0] if entry.can_sanitize else ADVICE[1])
    return Markup("<div class='te-sanitizable'>{}</div>").format(said) if entry.can_sanitize else said


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


def deleted(name: str) -> Markup:
    """The class shows the undo button."""
    return Markup("<div class='te-deleted'>{}</div>").format(html.message("good", f"{name} is in the trash."))


def restored(entries: Sequence[Entry]) -> Markup:
    """What a restored item of the trash brought back; one that lay there alone, such as a picture, is no entry."""
    names = ", ".join(printable(entry.name) for entry in entries)
    return html.message("good", f"{names} is back." if names else "It is back.")


def download(file_name: str, data: bytes) -> Markup:
    """A link that holds the file itself, which no host has to serve; the script follows it at once."""
    address = "data:application/octet-stream;base64," + base64.b64encode(data).decode("ascii")
    return _DOWNLOAD.format(time.monotonic_ns(), file_name, address, file_name, size(len(data)))


def imported(results: Sequence[Imported]) -> Markup:
    """How many came, and a line for each that did not, or not as it was."""
    if not results:
        return html.message("bad", "No file came.")
    good = [one for one in results if one.entry is not None]
    refused = len(results) - len(good)
    title = f"{html.count(len(good), 'embedding')} imported." if good else "Nothing was imported."
    if good and refused:
        title = f"{title} {html.count(refused, 'file')} refused."
    return html.message("good" if good else "bad", title, *(_told(one) for one in results if one.problem or one.note))


def _told(one: Imported) -> str:
    """The sentence, after the file's name where it does not begin with that."""
    sentence = one.problem or one.note
    return printable(sentence if sentence.startswith(f'"{one.file}"') else f"{one.file}: {sentence}")


def run_label(run: RunState) -> str:
    """ "my-cat · step 400 · 20261125-143000-123"; `run_of` gives the id back."""
    return printable(f"{run.embedding} · step {run.step} · {run.id}")


def run_of(label: str) -> str:
    """The id at a label's end; gradio 3 shows both parts of a choice that has a label and a value."""
    return label.rpartition(" · ")[2]


def trash_label(one: Trashed) -> str:
    """ "my-cat.pt · 2026-11-25 14:30 · 3.1 KB · my-cat.20261125-143005"; the id at its end tells it from all others."""
    return printable(f"{one.file} · {when(one.when)} · {size(one.size)} · {one.id}")
