"""What training will see of each image of a dataset, with warnings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from train_embedding.messages import NOTHING, Message, joined, msg, plural
from train_embedding.services.datasets.measures import BLURRED, Measures, find_duplicates

if TYPE_CHECKING:
    from train_embedding.engine.data.crops import Crop
    from train_embedding.engine.data.image import Header
    from train_embedding.services.datasets.measure_cache import Stamp

Size = tuple[int, int]
"Width and height in pixels."
WarningKind = Literal["unreadable", "small", "cropped", "duplicate", "similar", "blurred", "caption", "trigger"]

PIXEL_WARNINGS: tuple[WarningKind, ...] = ("duplicate", "similar", "blurred")
"Those that only the pixels of images show."
LEAST_ENLARGED = 1.1
"Smallest enlargement to its training size that is reported of an image."
ORDINARY_CUT = 0.17
"""Largest part of an image that bucketing cuts off at 512 × 512 if its longer side is at most 2.5 times the shorter one. Only
larger parts are reported."""
_LISTED = 5
"Number of files that a sentence names."


@dataclass(frozen=True)
class CheckOptions:
    """The options of a run that decide how it sees its images, as in TrainingSpec."""

    width: int = 0
    "0 for the native size of the checkpoint."
    height: int = 0
    buckets: bool = True
    resize_mode: str = "crop"
    masks: str = "auto"
    repeats: bool = False
    embedding: str = ""
    "The trigger; empty if it is not chosen yet."
    template: tuple[str, ...] = ()
    "The caption lines; empty if they are not chosen yet, as if they had [filewords]."

    @property
    def uses_captions(self) -> bool:
        """Whether some caption line has [filewords]."""
        return not self.template or any("[filewords]" in line for line in self.template)


@dataclass(frozen=True)
class ImageWarning:
    """Something about an image that may hurt the result."""

    kind: WarningKind
    text: Message


@dataclass(frozen=True)
class CheckedImage:
    """An image of a dataset and how training will use it."""

    name: str
    "Name of the file, with its subfolder if any."
    file: Path
    size: Size = (0, 0)
    "In the EXIF orientation; zeros if the image cannot be read."
    target: Size = (0, 0)
    "At which it is trained."
    crop: Crop | None = None
    "The part that the user has chosen; None for all of it."
    scale: float = 1.0
    "By which it, or its crop, is enlarged to cover the target, or reduced if it is below 1."
    cut: float = 0.0
    "Part of the image, or of its crop, that is cut off to fit the target, from 0 to 1."
    mask: str = ""
    '"file", "alpha" or "" for none.'
    caption: str = ""
    "What [filewords] stands for."
    has_caption_file: bool = False
    repeats: int = 1
    excluded: bool = False
    measured: bool = False
    sharpness: float | None = None
    "Variance of the Laplacian; None before it is measured."
    problem: Message = NOTHING
    "Why training skips it; empty if it does not."
    warnings: tuple[ImageWarning, ...] = ()
    stamp: Stamp = ()
    "Changes when the image, its mask or its crop changes."

    @property
    def used_size(self) -> Size:
        """Width and height in pixels of the crop, or of the whole image."""
        return self.size if self.crop is None else self.crop.size(self.size)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, as the API answers them."""
        return {
            "file": self.name,
            "size": list(self.size),
            "crop": None if self.crop is None else self.crop.rectangle(self.size),
            "trained_at": list(self.target),
            "scale": round(self.scale, 3),
            "cut_off": round(self.cut, 3),
            "mask": self.mask or None,
            "caption": self.caption,
            "caption_from": "text file" if self.has_caption_file else "file name",
            "repeats": self.repeats,
            "excluded": self.excluded,
            "sharpness": None if self.sharpness is None else round(self.sharpness, 1),
            "problem": self.problem or None,
            "warnings": [{"kind": warning.kind, "text": warning.text} for warning in self.warnings],
        }


@dataclass(frozen=True)
class DatasetCheck:
    """The images of a dataset, with warnings."""

    folder: Path
    images: tuple[CheckedImage, ...]
    notes: tuple[Message, ...] = ()
    "Warnings about the whole folder."
    options: CheckOptions = field(default_factory=CheckOptions)

    @property
    def used(self) -> list[CheckedImage]:
        """The images that training uses."""
        return [image for image in self.images if not image.excluded and not image.problem]

    @property
    def measured(self) -> int:
        """Number of images whose pixels have been measured, or cannot be."""
        return sum(image.measured for image in self.images)

    @property
    def complete(self) -> bool:
        """Whether all images have been measured."""
        return self.measured == len(self.images)

    @property
    def buckets(self) -> list[tuple[Size, int]]:
        """The sizes that images are trained at, in order of width, and how often an image of each size is used."""
        counts: Counter[Size] = Counter()
        for image in self.used:
            counts[image.target] += image.repeats
        return sorted(counts.items())

    def with_warning(self, kind: str) -> list[CheckedImage]:
        """Return the images with a warning of a kind that are not excluded."""
        return [image for image in self.images if not image.excluded and any(found.kind == kind for found in image.warnings)]

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, as the API answers them."""
        kinds = Counter(warning.kind for image in self.images if not image.excluded for warning in image.warnings)
        return {
            "folder": str(self.folder),
            "images": len(self.images),
            "used": len(self.used),
            "excluded": sum(image.excluded for image in self.images),
            "measured": self.measured,
            "buckets": [{"size": list(size), "images": count} for size, count in self.buckets],
            "warnings": dict(sorted(kinds.items())),
            "notes": list(self.notes),
            "files": [image.to_json() for image in self.images],
        }


@dataclass(frozen=True)
class ReadImage:
    """An image as far as its files show without decoding it."""

    name: str
    file: Path
    repeats: int
    header: Header | None
    "None if it cannot be read."
    stamp: Stamp
    has_mask_file: bool
    caption: str
    has_caption_file: bool
    excluded: bool
    problem: Message = NOTHING
    crop: Crop | None = None


def checked(read: ReadImage, options: CheckOptions, sizes: Sequence[Size]) -> CheckedImage:
    """Compute how training will use an image.

    Args:
        read: The image.
        options: How it is trained.
        sizes: The sizes to train at.
    """
    from train_embedding.engine.data.buckets import nearest_size

    base = CheckedImage(
        read.name, read.file, repeats=read.repeats, excluded=read.excluded, caption=read.caption,
        has_caption_file=read.has_caption_file, problem=read.problem, stamp=read.stamp,
    )  # fmt: skip
    if read.header is None:
        return replace(base, warnings=(ImageWarning("unreadable", read.problem),), measured=True)
    base = replace(base, size=read.header.size, crop=read.crop)
    size = base.used_size
    target = nearest_size(size, sizes)
    scale = max(target[0] / size[0], target[1] / size[1])
    cut = max(0.0, 1 - target[0] * target[1] / (size[0] * size[1] * scale**2)) if options.resize_mode == "crop" else 0.0
    mask = ""
    if options.masks in ("file", "auto") and read.has_mask_file:
        mask = "file"
    elif options.masks in ("alpha", "auto") and read.header.has_alpha:
        mask = "alpha"
    image = replace(base, target=target, scale=scale, cut=cut, mask=mask)
    problem = (ImageWarning("unreadable", read.problem),) if read.problem else ()
    return replace(image, warnings=(*problem, *_size_warnings(image), *_caption_warnings(image, options)))


def with_measures(images: Sequence[CheckedImage], measured: Mapping[str, Measures]) -> tuple[CheckedImage, ...]:
    """Add what the pixels of images show.

    Args:
        images: The images.
        measured: The measures of those that have been measured, by name.
    """
    exact, similar = find_duplicates({image.name: measured[image.name] for image in images if image.name in measured})
    return tuple(
        _with_measures(image, measured[image.name], exact.get(image.name, ""), similar.get(image.name, ""))
        if image.name in measured
        else image
        for image in images
    )


def kept_measures(image: CheckedImage, before: CheckedImage) -> CheckedImage:
    """Add what the pixels of an image have shown before to what its files show now, unless these have changed.

    Args:
        image: The image as it is now.
        before: The same image, checked before.
    """
    if image.stamp != before.stamp:
        return image
    kept = [warning for warning in before.warnings if warning.kind in PIXEL_WARNINGS]
    if before.measured and not before.problem:
        kept += [warning for warning in before.warnings if warning.kind == "unreadable"]
    return replace(image, measured=before.measured, sharpness=before.sharpness, warnings=(*image.warnings, *kept))


def folder_notes(folder: Path, images: Sequence[CheckedImage], names: Sequence[str]) -> list[Message]:
    """Return notes about files of a folder that belong to no image.

    Args:
        folder: The dataset.
        images: Its images.
        names: The names of all files directly in it.
    """
    from train_embedding.engine.data.file_names import displayable

    stems = {image.file.stem for image in images if image.file.parent == folder}
    lonely = [name for name in names if "-masklabel." in name and name.rpartition("-masklabel.")[0] not in stems]
    if not lonely:
        return []
    return [
        plural(
            "{count} mask belongs to no image: {files}.",
            "{count} masks belong to no image: {files}.",
            len(lonely),
            files=_listed([displayable(name) for name in lonely]),
        )
    ]


def _size_warnings(image: CheckedImage) -> list[ImageWarning]:
    warnings: list[ImageWarning] = []
    if image.scale >= LEAST_ENLARGED:
        text = msg(
            "Too small for its bucket: {size} pixels are enlarged {scale:.1f} times to {target}.",
            size=shown_size(image.used_size),
            scale=image.scale,
            target=shown_size(image.target),
        )
        warnings.append(ImageWarning("small", text))
    if image.cut > ORDINARY_CUT:
        text = msg("{part:.0f} % of it is cut off to fit {target}.", part=100 * image.cut, target=shown_size(image.target))
        warnings.append(ImageWarning("cropped", text))
    return warnings


def _caption_warnings(image: CheckedImage, options: CheckOptions) -> list[ImageWarning]:
    if not options.uses_captions or image.problem:
        return []
    if not image.has_caption_file:
        if not image.caption:
            return [ImageWarning("caption", msg("No caption file, and its file name has no words."))]
        return [ImageWarning("caption", msg('No caption file; its file name is used: "{caption}".', caption=image.caption))]
    if not image.caption:
        return [ImageWarning("caption", msg("Its caption is empty."))]
    if _lacks_trigger(image.caption, options):
        text = msg('Its caption does not contain "{trigger}", which is put in front of it.', trigger=options.embedding)
        return [ImageWarning("trigger", text)]
    return []


def _lacks_trigger(caption: str, options: CheckOptions) -> bool:
    """Whether training puts the trigger in front of a prompt, because neither a caption line nor the caption has it."""
    from train_embedding.engine.prompts.embedding_names import NAME, mark_name

    if not options.embedding or NAME in mark_name(caption, options.embedding):
        return False
    return any(NAME not in mark_name(line, options.embedding) for line in options.template)


def _with_measures(image: CheckedImage, measures: Measures, exact: str, similar: str) -> CheckedImage:
    warnings = list(image.warnings)
    if measures.problem:
        warnings.append(ImageWarning("unreadable", msg("It could not be examined. {reason}", reason=measures.problem)))
        return replace(image, measured=True, warnings=tuple(warnings))
    if exact:
        warnings.append(ImageWarning("duplicate", msg('The same file as "{file}".', file=exact)))
    if similar:
        warnings.append(ImageWarning("similar", msg('Looks almost like "{file}".', file=similar)))
    if measures.is_blurred:
        text = msg("Looks blurred: its sharpness is {value:.0f}, less than {limit:.0f}.", value=measures.sharpness, limit=BLURRED)
        warnings.append(ImageWarning("blurred", text))
    return replace(image, measured=True, sharpness=measures.sharpness, warnings=tuple(warnings))


def shown_size(size: Sequence[int]) -> str:
    """Return a size as messages show it, such as "512 × 384"."""
    return f"{size[0]} × {size[1]}"


def _listed(names: Sequence[str]) -> Message:
    shown, more = joined(names[:_LISTED]), len(names) - _LISTED
    return msg("{names} and {more} more", names=shown, more=more) if more > 0 else shown
