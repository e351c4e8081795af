"""The images of a dataset, its buckets, tags and the selected image, as HTML."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from train_embedding.messages import COLON, DOT, NOTHING, Message, joined, msg, plural, verbatim
from train_embedding.services import datasets
from train_embedding.ui import html
from train_embedding.ui.library.cards import printable
from train_embedding.ui.templates import render

if TYPE_CHECKING:
    from markupsafe import Markup

    from train_embedding.services.datasets import Added, CheckedImage, DatasetCheck
    from train_embedding.ui.datasets.views import View

PAGE = 48
"Number of images on a page."
SHOWN_TAGS = 60
LONGEST_TAG = 60
"Characters; longer texts between commas are sentences."
SHOWN_CAPTION = 300
SHOWN_SKIPPED = 5
SHOWN_NOTES = 8
ALL, WARNINGS, EXCLUDED = "", "warnings", "excluded"
"Filters that are no kind of warning."
KINDS: dict[str, Message] = {
    "unreadable": msg("Unreadable"),
    "small": msg("Upscaled"),
    "cropped": msg("Cropped"),
    "duplicate": msg("Duplicate"),
    "similar": msg("Near duplicate"),
    "blurred": msg("Blurred"),
    "caption": msg("No caption"),
    "trigger": msg("Without trigger"),
}
"Short names of the kinds of warnings."
_MASKS = {"alpha": msg("mask from transparency"), "file": msg("mask from a file")}
_numbers = itertools.count(1)


def matching(check: DatasetCheck, chosen: str) -> Sequence[CheckedImage]:
    """Return the images that a filter shows."""
    if chosen == EXCLUDED:
        return [image for image in check.images if image.excluded]
    if chosen == WARNINGS:
        return [image for image in check.images if image.warnings and not image.excluded]
    return check.with_warning(chosen) if chosen in KINDS else check.images


def page_of(images: Sequence[CheckedImage], number: int) -> tuple[Sequence[CheckedImage], int]:
    """Return the images of a page, and its number, which is that of the last page if there are fewer."""
    number = max(0, min(number, (len(images) - 1) // PAGE))
    return images[number * PAGE : (number + 1) * PAGE], number


def image_list(view: View, version: str, chosen: str, number: int, to_examine: int) -> Markup:
    """Return the images on a page of a dataset, with counts and filters above them.

    Args:
        view: The check.
        version: What the page knows of changes.
        chosen: The filter.
        number: Of the page, from 0.
        to_examine: Number of images that have not been examined yet.
    """
    check = view.check
    images = matching(check, chosen)
    shown, number = page_of(images, number)
    total = len(check.images)
    return render(
        "dataset",
        serial=next(_numbers),
        folder=printable(str(check.folder)),
        version=version,
        updating=bool(to_examine or view.stale),
        title=printable(check.folder.name),
        counts=_counts(check),
        percent=round(100 * (total - to_examine) / max(1, total)),
        examining=msg("Checking images: {done} of {total}", done=total - to_examine, total=total) if to_examine else NOTHING,
        notes=check.notes[:SHOWN_NOTES],
        filters=_filters(check, chosen),
        cards=[_card(image, check.options.resize_mode) for image in shown],
        nothing=_nothing(check, chosen),
        first=number * PAGE + 1,
        total=len(images),
        number=number,
        pages=(len(images) - 1) // PAGE + 1 if images else 1,
        place=msg("{first}–{last} of {total}", first=number * PAGE + 1, last=number * PAGE + len(shown), total=len(images))
        if shown
        else NOTHING,
    )


def no_dataset() -> Markup:
    """Return what is shown before a dataset is open."""
    text = msg("No dataset is open. Choose one, or type the path of a folder.")
    hint = msg('To create one, type a name into "{field}" and drop images or a zip archive here.', field=msg("New dataset"))
    return render("no_dataset", serial=next(_numbers), text=text, hint=hint)


def reading(folder: str, version: str, done: int, total: int) -> Markup:
    """Return what is shown while the files of a dataset are opened for the first time."""
    text = msg("Reading the images: {done} of {total}", done=done, total=total) if total else msg("Reading the images")
    percent = round(100 * done / max(1, total))
    return render("dataset_reading", serial=next(_numbers), folder=printable(folder), version=version, text=text, percent=percent)


def buckets(check: DatasetCheck) -> Markup:
    """Return how often an image of each bucket is used, as a bar chart."""
    counts = check.buckets
    most = max((count for _, count in counts), default=1)
    rows = [(datasets.shown_size(size), count, f"{100 * count / most:.1f}") for size, count in counts]
    title = plural("{count} bucket", "{count} buckets", len(rows))
    return render("buckets", rows=rows, title=title)


def details(image: CheckedImage, resize_mode: str) -> Markup:
    """Return what training will see of the selected image."""
    facts = [
        (msg("Size"), verbatim(datasets.shown_size(image.size)) if any(image.size) else NOTHING),
        (msg("Crop"), verbatim(datasets.shown_size(image.used_size)) if image.crop else NOTHING),
        (msg("Bucket"), verbatim(datasets.shown_size(image.target)) if any(image.target) else NOTHING),
        (msg("Cropped"), verbatim(f"{100 * image.cut:.0f} %") if image.cut >= 0.005 else NOTHING),
        (msg("Mask"), _MASKS.get(image.mask, NOTHING)),
        (msg("Repeats"), verbatim(str(image.repeats)) if image.repeats > 1 else NOTHING),
        (msg("Sharpness"), verbatim(f"{image.sharpness:.0f}") if image.sharpness is not None else NOTHING),
        (msg("Training"), msg("excluded") if image.excluded else NOTHING),
    ]
    return render(
        "dataset_image",
        card=_card(image, resize_mode),
        alt=msg("{name} as training sees it", name=image.name),
        facts=[fact for fact in facts if fact[1]],
        warnings=[printable(warning.text) for warning in image.warnings],
    )


def tags(counts: Sequence[tuple[str, int]]) -> Markup:
    """Return the most frequent tags as buttons that add them to the caption or remove them from it."""
    short = [(tag, count) for tag, count in counts if len(tag) <= LONGEST_TAG]
    return render(
        "tags", tags=[(printable(tag), count) for tag, count in short[:SHOWN_TAGS]], more=max(0, len(short) - SHOWN_TAGS)
    )


def tokens(count: int, limit: int) -> Markup:
    """Return the number of tokens of a caption, in words and as a bar."""
    text = plural("{count} of {limit} tokens", "{count} of {limit} tokens", count, limit=limit)
    return render("budget", text=text, percent=min(100, round(100 * count / limit)))


def added_message(added: Added) -> Markup:
    """Return the message about files that were added."""
    skipped = [joined([verbatim(printable(name)), reason], COLON) for name, reason in added.skipped[:SHOWN_SKIPPED]]
    more = len(added.skipped) - SHOWN_SKIPPED
    known = plural(
        "{count} file already existed.", "{count} files already existed.", len(added.known)
    ) if added.known else NOTHING  # fmt: skip
    left_out = plural("{count} file was skipped:", "{count} files were skipped:", len(added.skipped)) if skipped else NOTHING
    text = plural("{count} file added.", "{count} files added.", len(added.files))
    rest = msg("… and {number} more", number=more) if more > 0 else NOTHING
    return html.message("good", text, known, left_out, *skipped, rest)


def _counts(check: DatasetCheck) -> Message:
    images = check.images
    excluded, unusable = sum(image.excluded for image in images), sum(bool(image.problem) for image in images)
    captions, masks = sum(image.has_caption_file for image in check.used), sum(bool(image.mask) for image in check.used)
    crops = sum(image.crop is not None for image in check.used)
    return joined(
        [
            html.image_count(len(images)),
            msg("{number} used", number=len(check.used)) if len(check.used) != len(images) else NOTHING,
            msg("{number} with a caption file", number=captions),
            msg("{number} with a mask", number=masks) if masks else NOTHING,
            msg("{number} with a crop", number=crops) if crops else NOTHING,
            msg("{number} excluded", number=excluded) if excluded else NOTHING,
            msg("{number} unusable", number=unusable) if unusable else NOTHING,
        ],
        DOT,
    )


def _filters(check: DatasetCheck, chosen: str) -> Sequence[dict[str, object]]:
    names: dict[str, Message] = {ALL: msg("All"), WARNINGS: msg("With warnings"), **KINDS, EXCLUDED: msg("Excluded")}
    counts = {key: len(matching(check, key)) for key in names}
    return [
        {"key": key, "name": name, "count": counts[key], "on": key == chosen}
        for key, name in names.items()
        if counts[key] or key in (ALL, chosen)
    ]


def _nothing(check: DatasetCheck, chosen: str) -> Message:
    if not check.images:
        return msg("No images yet. Drop images or a zip archive here. Captions and masks can be included.")
    return msg("No image has this warning.") if chosen != EXCLUDED else msg("No image is excluded.")


def _card(image: CheckedImage, resize_mode: str) -> dict[str, object]:
    width, height = image.target if any(image.target) else (1, 1)
    sizes = [datasets.shown_size(size) for size in (image.used_size, image.target)] if any(image.size) else []
    return {
        "name": printable(image.name),
        "picture": "-".join(map(str, image.stamp)) if any(image.size) else "",
        "width": width,
        "height": height,
        "fill": resize_mode != "crop",
        "mask": bool(image.mask),
        "excluded": image.excluded,
        "size": " → ".join(dict.fromkeys(sizes)),
        "caption": printable(image.caption[:SHOWN_CAPTION]),
        "from_name": not image.has_caption_file,
        "warnings": [(warning.kind, KINDS[warning.kind], printable(warning.text)) for warning in image.warnings],
    }
