"""The headings and states of the three steps, the strip of images and the estimate, as HTML."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from train_embedding.messages import COLON, DOT, NOTHING, Message, joined, msg, plural, verbatim
from train_embedding.ui import html
from train_embedding.ui.datasets.html import KINDS
from train_embedding.ui.library.cards import printable
from train_embedding.ui.templates import render

if TYPE_CHECKING:
    from markupsafe import Markup

    from train_embedding.services.datasets import DatasetCheck
    from train_embedding.services.library import Entry

StepState = Literal["open", "done", "bad"]
SHOWN_IMAGES = 14
"Number of thumbnails in the strip."
SHOWN_NOTES = 2
_numbers = itertools.count(1)


def step_heading(number: int, title: Message) -> Markup:
    """Return the numbered heading of a step."""
    return render("step_heading", number=number, title=title)


def state(kind: StepState, text: Message, *, live: bool = False) -> Markup:
    """Return the line that says what is missing in a step, or what was chosen.

    Args:
        kind: Whether something is missing, chosen or wrong.
        text: The line.
        live: Whether the script adds the progress of the active run.
    """
    return render("step_state", kind=kind, text=text, live=live)


def embedding_state(entry: Entry) -> Markup:
    """Return the state of the first step for an embedding of the library."""
    if not entry.loaded:
        return state("bad", entry.reason or msg("{name} cannot be used with the loaded checkpoint.", name=entry.name))
    family = verbatim(entry.family) if entry.family not in ("", "custom") else NOTHING
    facts = [verbatim(printable(entry.name)), html.vector_count(entry.vectors), family, html.trained_steps(entry.step)]
    return state("done", joined(facts))


def images_state(check: DatasetCheck) -> Markup:
    """Return the state of the second step for a dataset with usable images."""
    return state("done", joined([verbatim(printable(check.folder.name)), html.image_count(len(check.used))], COLON))


def strip(check: DatasetCheck, thumbnails: Mapping[str, tuple[bytes, bytes]], pending: bool) -> Markup:
    """Return the first images of a dataset, with counts and warnings in one line.

    Args:
        check: The dataset.
        thumbnails: JPEG files by name, and their masks.
        pending: Whether more will be known soon; the script then requests the strip again.
    """
    used = check.used
    notes = [joined([verbatim(printable(image.name)), image.problem], COLON) for image in check.images if image.problem]
    shown = [(printable(image.name), _address(thumbnails.get(image.name, (b"", b""))[0])) for image in used[:SHOWN_IMAGES]]
    return render(
        "dataset_strip",
        serial=next(_numbers),
        pending=pending,
        line=_counts(check),
        images=shown,
        more=max(0, len(used) - SHOWN_IMAGES),
        notes=[*check.notes[:SHOWN_NOTES], *notes[:SHOWN_NOTES]],
    )


def reading(done: int, total: int) -> Markup:
    """Return what is shown while the files of a dataset are opened for the first time."""
    text = msg("Reading the images: {done} of {total}", done=done, total=total) if total else msg("Reading the images")
    return render("dataset_strip", serial=next(_numbers), pending=True, line=text, images=(), more=0, notes=())


def estimate(sentences: Sequence[Message]) -> Markup:
    """Return an estimate of the run."""
    first, *others = sentences
    return html.message("quiet", first, *others)


def _counts(check: DatasetCheck) -> Message:
    """Return counts and warnings, as in "12 images, 8 with a caption file · 2 upscaled, 1 blurred"."""
    used, captions = check.used, sum(image.has_caption_file for image in check.used)
    masks, excluded = sum(bool(image.mask) for image in used), sum(image.excluded for image in check.images)
    skipped = sum(bool(image.problem) for image in check.images)
    counts = [
        html.image_count(len(used)),
        msg("{number} with a caption file", number=captions) if captions else NOTHING,
        msg("{number} with a mask", number=masks) if masks else NOTHING,
        msg("{number} excluded", number=excluded) if excluded else NOTHING,
        msg("{number} skipped", number=skipped) if skipped else NOTHING,
    ]
    kinds = {kind: sum(kind in {warning.kind for warning in image.warnings} for image in used) for kind in KINDS}
    warnings = [joined([KINDS[kind], verbatim(str(count))], COLON) for kind, count in kinds.items() if count]
    affected = sum(bool(image.warnings) for image in used)
    warned = plural("{count} image with warnings", "{count} images with warnings", affected) if affected else NOTHING
    return joined([joined(counts), joined([warned, joined(warnings)], COLON) if warned else NOTHING], DOT)


def _address(data: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(data).decode("ascii") if data else ""
