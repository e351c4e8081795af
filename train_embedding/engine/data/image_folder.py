"""The training images of a folder: finds and measures them and chooses their training sizes. Decoding comes later."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from train_embedding.allowed_folders import resolve_allowed
from train_embedding.engine.config.spec import ResolvedSpec, label_of
from train_embedding.engine.data.buckets import Size, bucket_sizes, nearest_size
from train_embedding.engine.data.captions import caption_path, file_exists, load_caption
from train_embedding.engine.data.crops import Crop, FolderCrops
from train_embedding.engine.data.exclusions import EXCLUDED_FILE, read_excluded
from train_embedding.engine.data.file_names import displayable
from train_embedding.engine.data.image import Pixels, check_mask, mask_path, measure_image, read_pixels, verify_image
from train_embedding.errors import InvalidInput, NotAllowed, NotFound, NothingToTrainOn, TrainEmbeddingError, UnreadableFile
from train_embedding.images.kinds import SUFFIXES
from train_embedding.messages import SPACE, Message, joined, msg, plural

MAX_REPEATS = 100
_MASK = "-masklabel."
_REPEATED = re.compile(r"(\d{1,9})_.+")
_LISTED = 5
"Largest number of subfolders named in a message."
SEARCH_SUBFOLDERS = msg(
    'Switch on "{option}": the number in the name of a subfolder is then the number of repeats of its images.',
    option=label_of("repeats"),
)

SkippedFile = tuple[str, Message]
"A file's name, with its subfolder if any, and why it is not used."


@dataclass(frozen=True)
class TrainingImage:
    """A training image and how it is used.

    Attributes:
        name: Name of the file, with its subfolder if any.
        file: Path of the file.
        caption: Text that replaces `[filewords]`.
        size: Width and height in pixels, in the EXIF orientation.
        target: Width and height in pixels at which it is trained.
        resize_mode: As in TrainingSpec.
        mask: Mask to use: "file", "alpha" or "" for none.
        has_caption_file: Whether the caption is from a text file instead of the file name.
        repeats: How many times the image occurs in the dataset.
        stamp: Modification time in nanoseconds and size in bytes when the file was found.
        crop: The part of the image that is used; None for all of it.
    """

    name: str
    file: Path
    caption: str
    size: Size
    target: Size
    resize_mode: str = "crop"
    mask: str = ""
    has_caption_file: bool = False
    repeats: int = 1
    stamp: tuple[int, int] = (0, 0)
    crop: Crop | None = None

    def read(self) -> Pixels:
        """Decode the image. Raises UnreadableFile."""
        return read_pixels(self.file, self.target, self.resize_mode, self.mask, self.crop)

    def check_unchanged(self) -> None:
        """Raise UnreadableFile if the file changed since it was found."""
        if _stamp(self.file) != self.stamp:
            raise UnreadableFile(msg("It changed while the images were being read."))


@dataclass(frozen=True)
class ImageOptions:
    """How images are chosen and resized.

    Attributes:
        sizes: The sizes to train at, at least one.
        resize_mode: As in TrainingSpec.
        masks: As in TrainingSpec.
        repeats: As in TrainingSpec.
    """

    sizes: tuple[Size, ...]
    resize_mode: str = "crop"
    masks: str = "none"
    repeats: bool = False


def image_options(resolved: ResolvedSpec) -> ImageOptions:
    """Return the options for the images of a run."""
    spec, size = resolved.spec, (resolved.width, resolved.height)
    return ImageOptions(bucket_sizes(*size) if spec.buckets else (size,), spec.resize_mode, spec.masks, spec.repeats)


def scan_folder(
    folder: Path, options: ImageOptions, allowed: Sequence[Path] | None = None
) -> tuple[list[TrainingImage], list[SkippedFile]]:
    """Open the images of a folder without decoding them.

    Args:
        folder: The dataset.
        options: Which images to use, and how.
        allowed: As for `check_image`.

    Returns:
        The usable images, and the files that cannot be used with the reasons.

    Raises:
        NotFound: The folder does not exist.
        NotAllowed: The folder may not be read.
        NothingToTrainOn: No image is usable.
    """
    files, skipped = list_images(folder, options.repeats, allowed)
    images: list[TrainingImage] = []
    crops = FolderCrops()
    for file, repeats in files:
        name = displayable(file.relative_to(folder).as_posix())
        try:
            check_place(file, allowed)
            images.append(_scan(name, file, repeats, options, crops.of(file)))
        except UnreadableFile as error:
            skipped.append(skipped_file(name, error))
    if not images:
        raise no_usable_images(folder, skipped)
    return images, skipped


def list_images(
    folder: Path, repeats: bool = False, allowed: Sequence[Path] | None = None
) -> tuple[list[tuple[Path, int]], list[SkippedFile]]:
    """List the image files of a folder with their repeats, without those that are excluded (`exclusions.py`).

    Args:
        folder: The dataset.
        repeats: Whether to include subfolders named like `3_faces`.
        allowed: As for `check_image`.

    Returns:
        Files with their numbers of repeats, and the subfolders that cannot be used with the reasons.

    Raises:
        NotFound: The folder does not exist.
        NotAllowed: The folder may not be read.
        UnreadableFile: The list of excluded images cannot be read.
    """
    found, skipped = list_all_images(folder, repeats, allowed)
    excluded = {parent: read_excluded(parent) for parent in {file.parent for file, _ in found}}
    return [(file, count) for file, count in found if displayable(file.name) not in excluded[file.parent]], skipped


def list_all_images(
    folder: Path, repeats: bool = False, allowed: Sequence[Path] | None = None
) -> tuple[list[tuple[Path, int]], list[SkippedFile]]:
    """List the image files of a folder like `list_images`, including those that are excluded."""
    found, skipped = [(file, 1) for file in find_images(folder)], list[SkippedFile]()
    for subfolder in filter(Path.is_dir, _entries(folder)) if repeats else ():
        named = _REPEATED.fullmatch(subfolder.name)
        if named is None:
            continue
        try:
            _check_inside(subfolder, allowed)
            if not 1 <= int(named[1]) <= MAX_REPEATS:
                raise UnreadableFile(
                    msg("The number in its name, the repeats of its images, must be from 1 to {most}.", most=MAX_REPEATS)
                )
            found += [(file, int(named[1])) for file in find_images(subfolder)]
        except (UnreadableFile, NotAllowed) as error:
            skipped.append(skipped_file(subfolder.name, error))
    return found, skipped


def skipped_file(name: str, error: TrainEmbeddingError) -> SkippedFile:
    """Return a file that cannot be used, with the text of the error."""
    return displayable(name), error.text


def find_images(folder: Path) -> list[Path]:
    """Find the image files directly in a folder by their suffixes, sorted by name. Masks and hidden files are left out.

    Raises:
        NotFound: The folder does not exist.
        NotAllowed: The folder may not be read.
    """
    return [
        file
        for file in _entries(folder)
        if file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and _MASK not in file.name and file.is_file()
    ]


def check_image(file: Path, allowed: Sequence[Path] | None = None, masks: str = "none") -> str:
    """Open an image without decoding it, which detects most errors, and load its caption.

    Args:
        file: The image.
        allowed: Folders that must contain the image, its caption and its mask, with links resolved; None to allow all folders.
        masks: As in TrainingSpec. If the image has a mask file, it is checked as well.

    Returns:
        The caption.

    Raises:
        UnreadableFile: The image, its caption or its mask cannot be used.
    """
    check_place(file, allowed)
    verify_image(file)
    if masks in ("file", "auto") and file_exists(mask_path(file)):
        check_mask(file)
    return load_caption(file)


def no_usable_images(folder: Path, skipped: Sequence[SkippedFile]) -> NothingToTrainOn:
    """Make the error for a folder without usable images."""
    if not skipped:
        return _nothing_in(folder)
    name, reason = skipped[0]
    summary = plural(
        'There is no usable image in "{folder}": {count} file was skipped.',
        'There is no usable image in "{folder}": {count} files were skipped.',
        len(skipped),
        folder=folder,
    )
    return NothingToTrainOn(joined((summary, msg('"{name}": {reason}', name=name, reason=reason)), SPACE))


def _nothing_in(folder: Path) -> NothingToTrainOn:
    """Make the error for a folder without images directly in it, naming the subfolders that contain images."""
    if read_excluded(folder) and find_images(folder):
        return NothingToTrainOn(
            msg('All images in "{folder}" are excluded from training.', folder=folder),
            msg('Include some of them, or delete "{file}".', file=EXCLUDED_FILE),
        )
    counted, others = subfolders_with_images(folder)
    if counted or others:
        subfolders = list_subfolders(counted or others)
        return NothingToTrainOn(
            msg('There are no images in "{folder}" itself, only in {subfolders}.', folder=folder, subfolders=subfolders),
            SEARCH_SUBFOLDERS if counted else msg("Choose one of these folders."),
        )
    return NothingToTrainOn(
        msg('There are no images in "{folder}".', folder=folder),
        msg("Choose a folder that directly contains the training images."),
    )


def subfolders_with_images(folder: Path) -> tuple[list[str], list[str]]:
    """Find the subfolders that directly contain images.

    Returns:
        Names like `10_cat`, with which kohya's scripts set repeats, and other names.
    """
    counted: list[str] = []
    others: list[str] = []
    for subfolder in filter(Path.is_dir, _entries(folder)):
        hidden = subfolder.name.startswith(".") or subfolder.is_symlink()  # a link may lead outside the allowed folders
        if hidden or not _has_images(subfolder):
            continue
        (counted if repeats_from_name(subfolder.name) else others).append(displayable(subfolder.name))
    return counted, others


def repeats_from_name(name: str) -> int:
    """Return the number of repeats in a folder name such as `10_cat`, or 0."""
    named = _REPEATED.fullmatch(name)
    return int(named[1]) if named else 0


def list_subfolders(names: Sequence[str]) -> Message:
    """List subfolders for a message: "the subfolder 10_cat", "the subfolders a, b and 3 more"."""
    shown, more = joined(names[:_LISTED]), len(names) - _LISTED
    if more > 0:
        shown = msg("{names} and {more} more", names=shown, more=more)
    return plural("the subfolder {names}", "the subfolders {names}", len(names), names=shown)


def _has_images(folder: Path) -> bool:
    try:
        return bool(find_images(folder))
    except (NotFound, NotAllowed):
        return False


def _scan(name: str, file: Path, repeats: int, options: ImageOptions, crop: Crop | None) -> TrainingImage:
    stamp = _stamp(file)
    size, has_alpha = measure_image(file)
    mask = ""
    if options.masks in ("file", "auto") and file_exists(mask_path(file)):
        mask = "file"
    elif options.masks in ("alpha", "auto") and has_alpha:
        mask = "alpha"
    target = nearest_size(size if crop is None else crop.size(size), options.sizes)
    has_caption_file = file_exists(caption_path(file))
    caption = load_caption(file)
    return TrainingImage(name, file, caption, size, target, options.resize_mode, mask, has_caption_file, repeats, stamp, crop)


def _entries(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise NotFound(
            msg('The folder "{folder}" does not exist.', folder=folder),
            msg("Enter the folder that contains the training images."),
        )
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise NotAllowed(
            msg('The folder "{folder}" cannot be read: {reason}.', folder=folder, reason=error.strerror or error)
        ) from error


def _stamp(file: Path) -> tuple[int, int]:
    try:
        status = file.stat()
    except OSError as error:
        raise UnreadableFile(msg("It is no longer there.")) from error
    return status.st_mtime_ns, status.st_size


def check_place(file: Path, allowed: Sequence[Path] | None) -> None:
    """Raise UnreadableFile if an image, its caption or its mask is a link that leads outside the allowed folders."""
    for path in filter(os.path.lexists, (file, caption_path(file), mask_path(file))):
        _check_inside(path, allowed)


def _check_inside(path: Path, allowed: Sequence[Path] | None) -> None:
    if allowed is None:
        return
    try:
        resolve_allowed(path, allowed, shown=displayable(path.name))
    except (InvalidInput, NotAllowed) as error:
        raise UnreadableFile(error.message) from error
