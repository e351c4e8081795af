"""The training images of a folder: found, measured and assigned to sizes here, decoded when they are needed."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from train_embedding.allowed_folders import resolve_allowed
from train_embedding.engine.config.spec import ResolvedSpec
from train_embedding.engine.data.buckets import Size, bucket_sizes, nearest_size
from train_embedding.engine.data.captions import caption_path, file_exists, load_caption
from train_embedding.engine.data.image import Pixels, check_mask, mask_path, measure_image, read_pixels, verify_image
from train_embedding.errors import InvalidInput, NotAllowed, NotFound, NothingToTrainOn, TrainEmbeddingError, UnreadableFile
from train_embedding.images.kinds import SUFFIXES

MAX_REPEATS = 100
_MASK = "-masklabel."
_REPEATED = re.compile(r"(\d{1,9})_.+")
_LISTED = 5
"Subfolders that a message names."
_LOOKED_AT = 4096
SEARCH_SUBFOLDERS = (
    'Switch on "Repeated subfolders" (--repeats): each image then comes as often as the number of its subfolder says.'
)

SkippedFile = tuple[str, str]
"A file's name, with its subfolder if there is one, and why it is not used."


@dataclass(frozen=True)
class TrainingImage:
    """An image and how it will be used. Sizes are widths and heights in pixels."""

    name: str
    "The file's name, with its subfolder if there is one."
    file: Path
    caption: str
    "Replaces `[filewords]`."
    size: Size
    "As a viewer shows it."
    target: Size
    "To train at."
    resize_mode: str = "crop"
    mask: str = ""
    'The mask to use: "file", "alpha" or "" for none.'
    has_caption_file: bool = False
    "Whether the caption comes from a text file rather than the file name."
    repeats: int = 1
    "How many times it occurs in the dataset."
    stamp: tuple[int, int] = (0, 0)
    "Modification time in nanoseconds and size in bytes when the file was found."

    def read(self) -> Pixels:
        """Decode the image. Raises UnreadableFile."""
        return read_pixels(self.file, self.target, self.resize_mode, self.mask)

    def check_unchanged(self) -> None:
        """Raise UnreadableFile if the file changed since it was found."""
        if _stamp(self.file) != self.stamp:
            raise UnreadableFile("It changed while the images were being read.")


@dataclass(frozen=True)
class ImageOptions:
    """How images are chosen and resized. Except for `sizes`, the fields are those of TrainingSpec."""

    sizes: tuple[Size, ...]
    "The sizes to train at, at least one."
    resize_mode: str = "crop"
    masks: str = "none"
    repeats: bool = False


def image_options(resolved: ResolvedSpec) -> ImageOptions:
    """Return the options for images of a run."""
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
        The usable images, and the files that cannot be used.

    Raises:
        NotFound: There is no such folder.
        NotAllowed: The folder may not be read.
        NothingToTrainOn: No image is usable.
    """
    files, skipped = list_images(folder, options.repeats, allowed)
    images: list[TrainingImage] = []
    for file, repeats in files:
        name = displayable(file.relative_to(folder).as_posix())
        try:
            images.append(_scan(name, file, repeats, options, allowed))
        except UnreadableFile as error:
            skipped.append(skipped_file(name, error))
    if not images:
        raise no_usable_images(folder, skipped)
    return images, skipped


def list_images(
    folder: Path, repeats: bool = False, allowed: Sequence[Path] | None = None
) -> tuple[list[tuple[Path, int]], list[SkippedFile]]:
    """List the image files of a folder with their repeats.

    Args:
        folder: The dataset.
        repeats: Whether to search subfolders named like `3_faces` too.
        allowed: As for `check_image`.

    Returns:
        Files with how many times each occurs, and the subfolders that cannot be used.

    Raises:
        NotFound: There is no such folder.
        NotAllowed: The folder may not be read.
    """
    found, skipped = [(file, 1) for file in find_images(folder)], list[SkippedFile]()
    for subfolder in filter(Path.is_dir, _entries(folder)) if repeats else ():
        named = _REPEATED.fullmatch(subfolder.name)
        if named is None:
            continue
        try:
            _check_inside(subfolder, allowed)
            if not 1 <= int(named[1]) <= MAX_REPEATS:
                raise UnreadableFile(f"Its number says how often its images come, and must be from 1 to {MAX_REPEATS}.")
            found += [(file, int(named[1])) for file in find_images(subfolder)]
        except (UnreadableFile, NotAllowed) as error:
            skipped.append(skipped_file(subfolder.name, error))
    return found, skipped


def displayable(text: str) -> str:
    """Make a file name printable and valid JSON: bytes that are not UTF-8 become `\\udc..`."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def skipped_file(name: str, error: TrainEmbeddingError) -> SkippedFile:
    """Return a file that cannot be used, with the error's message."""
    return displayable(name), displayable(error.message)


def find_images(folder: Path) -> list[Path]:
    """Find the files directly in a folder that have an image's suffix, in order of name, except masks and hidden files.

    Raises:
        NotFound: There is no such folder.
        NotAllowed: The folder may not be read.
    """
    return [
        file
        for file in _entries(folder)
        if file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and _MASK not in file.name and file.is_file()
    ]


def check_image(file: Path, allowed: Sequence[Path] | None = None, masks: str = "none") -> str:
    """Open an image without decoding it, which finds most errors, and load its caption.

    Args:
        file: The image.
        allowed: Folders that must contain the image, its caption and its mask after resolving links; None for any folder.
        masks: As in TrainingSpec. A mask file that will be used is opened too.

    Returns:
        The caption.

    Raises:
        UnreadableFile: The image, its caption or its mask cannot be used.
    """
    _check_place(file, allowed)
    verify_image(file)
    if masks in ("file", "auto") and file_exists(mask_path(file)):
        check_mask(file)
    return load_caption(file)


def no_usable_images(folder: Path, skipped: Sequence[SkippedFile]) -> NothingToTrainOn:
    """Make the error for a folder without usable images."""
    if not skipped:
        return _nothing_in(folder)
    name, reason = skipped[0]
    files = "1 file was" if len(skipped) == 1 else f"{len(skipped)} files were"
    return NothingToTrainOn(f'There is no usable image in "{folder}": {files} skipped. "{name}": {reason}')


def _nothing_in(folder: Path) -> NothingToTrainOn:
    """Make the error for a folder that directly holds no images, naming the subfolders that do."""
    counted, others = subfolders_with_images(folder)
    what = f'There are no images in "{folder}" itself'
    if counted:
        return NothingToTrainOn(f"{what}, only in {list_subfolders(counted)}.", SEARCH_SUBFOLDERS)
    if others:
        return NothingToTrainOn(f"{what}, only in {list_subfolders(others)}.", "Give one of these folders.")
    return NothingToTrainOn(f'There are no images in "{folder}".', "Give a folder that directly holds the training images.")


def subfolders_with_images(folder: Path) -> tuple[list[str], list[str]]:
    """Find the subfolders that directly hold images.

    Returns:
        Names like `10_cat`, which kohya's scripts use for repeats, and other names.
    """
    counted: list[str] = []
    others: list[str] = []
    for subfolder in filter(Path.is_dir, _entries(folder)):
        hidden = subfolder.name.startswith(".") or subfolder.is_symlink()  # a link may lead where a shared server must not look
        if hidden or not _holds_images(subfolder):
            continue
        (counted if repeats_from_name(subfolder.name) else others).append(displayable(subfolder.name))
    return counted, others


def repeats_from_name(name: str) -> int:
    """Return the number in a folder's name like `10_cat`, or 0."""
    named = _REPEATED.fullmatch(name)
    return int(named[1]) if named else 0


def list_subfolders(names: Sequence[str]) -> str:
    """Name subfolders in a message: "the subfolder 10_cat", "the subfolders a, b and 3 more"."""
    shown, more = ", ".join(names[:_LISTED]), len(names) - _LISTED
    return f"the subfolder{'' if len(names) == 1 else 's'} {shown}" + (f" and {more} more" if more > 0 else "")


def _holds_images(folder: Path) -> bool:
    try:
        return bool(find_images(folder))
    except (NotFound, NotAllowed):
        return False


def _scan(name: str, file: Path, repeats: int, options: ImageOptions, allowed: Sequence[Path] | None) -> TrainingImage:
    _check_place(file, allowed)
    stamp = _stamp(file)
    size, has_alpha = measure_image(file)
    mask = ""
    if options.masks in ("file", "auto") and file_exists(mask_path(file)):
        mask = "file"
    elif options.masks in ("alpha", "auto") and has_alpha:
        mask = "alpha"
    target = nearest_size(size, options.sizes)
    has_caption_file = file_exists(caption_path(file))
    caption = load_caption(file)
    return TrainingImage(name, file, caption, size, target, options.resize_mode, mask, has_caption_file, repeats, stamp)


def _entries(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise NotFound(f'There is no folder "{folder}".', "Give the folder that holds the training images.")
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise NotAllowed(f'The folder "{folder}" cannot be read: {error.strerror or error}.') from error


def _stamp(file: Path) -> tuple[int, int]:
    try:
        status = file.stat()
    except OSError as error:
        raise UnreadableFile("It is no longer there.") from error
    return status.st_mtime_ns, status.st_size


def _check_place(file: Path, allowed: Sequence[Path] | None) -> None:
    for path in filter(os.path.lexists, (file, caption_path(file), mask_path(file))):
        _check_inside(path, allowed)


def _check_inside(path: Path, allowed: Sequence[Path] | None) -> None:
    if allowed is None:
        return
    try:
        resolve_allowed(path, allowed, shown=path.name)
    except (InvalidInput, NotAllowed) as error:
        raise UnreadableFile(error.message) from error
