"""Datasets (folders of training images) and caption templates."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from train_embedding.allowed_folders import resolve_allowed
from train_embedding.embeddings.regular_files import read_regular_file
from train_embedding.engine.config.spec import MaskSource
from train_embedding.errors import InvalidInput, NotAllowed, NotFound, UnreadableFile, cannot_read
from train_embedding.hosts.base import Host
from train_embedding.messages import Message, joined, msg
from train_embedding.services.datasets.warnings import warnings_about
from train_embedding.services.typed_paths import typed_path, typed_text

if TYPE_CHECKING:
    from train_embedding.engine.data.image_folder import SkippedFile

MAX_TEMPLATE_SIZE = 2**20
"Largest size of a caption template in bytes."
TEMPLATES: dict[str, tuple[str, ...]] = {
    "subject": (
        "a photo of [name]",
        "a picture of [name]",
        "a close-up of [name]",
        "a bright photo of [name]",
        "a photo of one [name]",
        "[name] in a scene",
    ),
    "style": (
        "a picture in the style of [name]",
        "a painting by [name]",
        "a drawing, art by [name]",
        "a scene in the style of [name]",
        "a close-up in the style of [name]",
    ),
    "caption file only": ("[name], [filewords]",),
}
"Caption templates that come with this program, by name."

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DatasetReport:
    """The contents of a dataset, with warnings."""

    folder: Path
    images: int
    "Number of usable images."
    skipped: tuple[SkippedFile, ...]
    "File name and reason for each image that cannot be used."
    captions: int = 0
    "Number of usable images with a caption file."
    masks: int = 0
    "Number of usable images with a mask file."
    notes: tuple[Message, ...] = ()
    "Warnings."

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, as the API answers them."""
        skipped = [{"file": name, "reason": reason} for name, reason in self.skipped]
        counts = {"images": self.images, "captions": self.captions, "masks": self.masks}
        return {"folder": str(self.folder), **counts, "skipped": skipped, "notes": list(self.notes)}


class Datasets:
    """Use cases about datasets. Safe to call from any thread."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def check_folder(self, folder: str | Path) -> Path:
        """Check that a folder exists and may be read.

        Args:
            folder: The folder as typed.

        Returns:
            Its absolute path, with links resolved.

        Raises:
            InvalidInput: The text is empty, or it is not a folder.
            NotAllowed: It is outside the folders that a shared server may read, or access is denied.
            NotFound: It does not exist.
        """
        text = str(folder)
        if not typed_text(text):
            raise InvalidInput(msg("No dataset is given."), msg("Enter the folder that contains the training images."))
        path = resolve_allowed(typed_path(text), self._host.info().allowed_folders)
        try:
            is_there, is_folder = path.exists(), path.is_dir()
        except OSError as error:
            raise NotAllowed(cannot_read(path, error)) from error
        if not is_there:
            raise NotFound(msg('The folder "{folder}" does not exist.', folder=path))
        if not is_folder:
            raise InvalidInput(msg('"{file}" is a file, not a folder of images.', file=path))
        return path

    def inspect(self, folder: str | Path, repeats: bool = False, masks: str = "none") -> DatasetReport:
        """Count the images directly in a folder, opening each without decoding it.

        Hidden files and mask files (`-masklabel.`) are not training images and are not counted as skipped.

        Args:
            folder: The folder as typed.
            repeats: Whether to search subfolders with names like `3_cat`, as in TrainingSpec.
            masks: Where masks come from, as in TrainingSpec.

        Raises:
            InvalidInput: As `check_folder`, or the value of `masks` is unknown.
            NotAllowed: As `check_folder`.
            NotFound: As `check_folder`.
            NothingToTrainOn: There is no usable image.
        """
        from train_embedding.engine.data.captions import caption_path, file_exists
        from train_embedding.engine.data.image import mask_path
        from train_embedding.engine.data.image_folder import check_image, list_images, no_usable_images, skipped_file

        if masks not in get_args(MaskSource):
            raise InvalidInput(
                msg('"{value}" is not a valid mask source.', value=masks),
                msg("Use one of {names}.", names=joined(get_args(MaskSource))),
            )
        path = self.check_folder(folder)
        allowed = self._host.info().allowed_folders
        files, skipped = list_images(path, repeats, allowed)
        usable: dict[Path, str] = {}
        for file, _repeats in files:
            try:
                usable[file] = check_image(file, allowed, masks)
            except UnreadableFile as error:
                skipped.append(skipped_file(file.relative_to(path).as_posix(), error))
        if not usable:
            raise no_usable_images(path, skipped)
        captions = sum(file_exists(caption_path(file)) for file in usable)
        masked = sum(file_exists(mask_path(file)) for file in usable)
        return DatasetReport(path, len(usable), tuple(skipped), captions, masked, warnings_about(path, usable, repeats))

    def templates(self) -> dict[str, tuple[str, ...]]:
        """Return the caption templates by name: those of this program, and the host's `*.txt` files, which take precedence.

        Every template has at least one line with [name].
        """
        found = dict(TEMPLATES)
        folder = self._host.info().templates_folder
        files = sorted(folder.glob("*.txt")) if folder is not None and folder.is_dir() else []
        for file in files:
            lines = _read_template(file)
            if any("[name]" in line for line in lines):
                found[file.stem] = lines
        return found


def _read_template(file: Path) -> tuple[str, ...]:
    from train_embedding.engine.data.captions import decode_text

    try:
        text = decode_text(read_regular_file(file, MAX_TEMPLATE_SIZE)[:MAX_TEMPLATE_SIZE])
    except (OSError, ValueError) as error:
        logger.warning("The caption template %s cannot be read: %s", file, error)
        return ()
    return tuple(line.strip() for line in text.splitlines() if line.strip())
