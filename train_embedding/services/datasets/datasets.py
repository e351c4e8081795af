"""Datasets (folders of training images) and caption templates."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from train_embedding.allowed_folders import resolve_allowed
from train_embedding.embeddings.regular_files import read_regular_file
from train_embedding.embeddings.storage import remove_tree
from train_embedding.engine.config.spec import MaskSource
from train_embedding.errors import InvalidInput, NotAllowed, NotFound, UnreadableFile, cannot_read
from train_embedding.hosts.base import Host
from train_embedding.messages import Message, joined, msg
from train_embedding.services.datasets.captions import (
    TOKEN_LIMIT,
    CaptionEdit,
    CaptionEditor,
    CaptionsChanged,
    ImageCaption,
    count_tokens,
    tag_counts,
)
from train_embedding.services.datasets.checking import Checking
from train_embedding.services.datasets.checks import CheckedImage, CheckOptions, DatasetCheck
from train_embedding.services.datasets.contents import Added, Contents, NamedDataset
from train_embedding.services.datasets.incoming import Upload
from train_embedding.services.datasets.warnings import warnings_about
from train_embedding.services.store.trash import Trashed
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
        self._contents = Contents(host)
        self._checking = Checking(host)
        self._captions = CaptionEditor(self._contents)

    def check_folder(self, folder: str | Path) -> Path:
        """Check that a folder exists and may be read.

        Args:
            folder: The folder as typed, or the name of a dataset in the data folder.

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
        path = resolve_allowed(self._path_of(text), self._host.info().allowed_folders)
        try:
            is_there, is_folder = path.exists(), path.is_dir()
        except OSError as error:
            raise NotAllowed(cannot_read(path, error)) from error
        if not is_there:
            raise NotFound(msg('The folder "{folder}" does not exist.', folder=path))
        if not is_folder:
            raise InvalidInput(msg('"{file}" is a file, not a folder of images.', file=path))
        return path

    def check_file(self, file: Path) -> Path:
        """Check that a file may be read; return its absolute path, with links resolved. Raises InvalidInput, NotAllowed."""
        return resolve_allowed(file, self._host.info().allowed_folders)

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

        _check_masks(masks)
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

    def list(self) -> list[NamedDataset]:
        """Return the datasets in the data folder, by name."""
        return self._contents.list()

    def create(self, name: str, uploads: Sequence[Upload] = ()) -> Added:
        """Create a dataset in the data folder, and add files to it.

        Raises:
            InvalidName: The name cannot be that of a folder.
            Conflict: There is one of this name.
            TrainEmbeddingError: As `add`; then there is no dataset.
        """
        folder = self._contents.create(name)
        if not uploads:
            return Added(folder, ())
        try:
            return self._contents.add(folder, uploads)
        except BaseException:
            remove_tree(folder)
            raise

    def add(self, folder: str | Path, uploads: Sequence[Upload]) -> Added:
        """Add images, captions, masks and zip archives of them to a dataset.

        Files that are neither, and damaged images, are skipped with the reason. An image with the name of another one gets a
        number.

        Raises:
            InvalidInput: There are no files, or an archive is encrypted, too large, or has entries that lead outside.
            UnreadableFile: An archive is damaged.
            StorageFailed: Files cannot be written. After any error, nothing was added.
            NotFound: As `check_folder`.
            NotAllowed: As `check_folder`.
        """
        return self._contents.add(self.check_folder(folder), uploads)

    def check(
        self,
        folder: str | Path,
        options: CheckOptions | None = None,
        progress: Callable[[int, int], object] = lambda _done, _total: None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> DatasetCheck:
        """Report what training will see of each image, with warnings, after measuring the images that changed.

        Args:
            folder: The dataset.
            options: How it is trained.
            progress: Called while images are measured with the number that are done, and of all.
            stopped: Returns whether to stop measuring and return what is known.

        Raises:
            InvalidInput: As `check_folder`, or an option is not valid.
            NotAllowed: As `check_folder`.
            NotFound: As `check_folder`.
        """
        options = options or CheckOptions()
        _check_masks(options.masks)
        return self._checking.check(self.check_folder(folder), options, progress, stopped)

    def look(self, folder: str | Path, options: CheckOptions | None = None) -> DatasetCheck:
        """Report like `check` with what is known already, and measure the other images in a thread."""
        options = options or CheckOptions()
        _check_masks(options.masks)
        return self._checking.look(self.check_folder(folder), options)

    def thumbnails(self, images: Sequence[CheckedImage]) -> dict[str, tuple[bytes, bytes]]:
        """Return the thumbnail and the mask of each measured image by its name, as JPEG files of the whole image."""
        found = self._checking.thumbnails([image.file for image in images])
        return {image.name: found[image.file] for image in images if image.file in found}

    def remove(self, folder: str | Path, names: Sequence[str]) -> int:
        """Move images with their captions and masks to the trash; return the number of files.

        Raises:
            NotFound: An image is not in the dataset, or as `check_folder`.
            StorageFailed: Nothing was moved.
        """
        path = self.check_folder(folder)
        files = [image.file for image in self._named(path, names)]
        return self._contents.remove(path, files, Path(names[0]).stem)

    def removed(self, folder: str | Path) -> list[Trashed]:
        """Return what was removed from a dataset, the newest first."""
        return self._contents.removed(self.check_folder(folder))

    def restore(self, folder: str | Path, item: str = "") -> Trashed:
        """Move removed images back: those of an item by its id, or of the newest. Raises NotFound, Conflict, StorageFailed."""
        return self._contents.restore(self.check_folder(folder), item)

    def delete(self, folder: str | Path) -> Path:
        """Move a whole dataset of the data folder to the trash, and return where it was.

        Raises:
            NotAllowed: It is a folder of the user's.
            StorageFailed: Nothing was moved.
        """
        path = self.check_folder(folder)
        self._contents.delete(path)
        return path

    def exclude(self, folder: str | Path, names: Sequence[str], excluded: bool = True) -> int:
        """Exclude images from training, or include them again; return their number. Raises NotFound, StorageFailed."""
        path = self.check_folder(folder)
        images = self._named(path, names)
        self._contents.exclude([image.file for image in images], excluded)
        return len(images)

    def captions(self, folder: str | Path, names: Sequence[str] = ()) -> Sequence[ImageCaption]:
        """Return the captions of images, by default of all. Raises NotFound."""
        path = self.check_folder(folder)
        images = self._named(path, names) if names else self._images(path)
        return [
            ImageCaption(image.name, image.caption, image.has_caption_file, count_tokens(image.caption))
            for image in images
            if not image.problem
        ]

    def write_caption(self, folder: str | Path, name: str, text: str) -> CaptionsChanged:
        """Write the caption of an image. Raises NotFound, InvalidInput, StorageFailed."""
        path = self.check_folder(folder)
        return self._captions.write(path, self._named(path, [name])[0], text)

    def edit_captions(
        self, folder: str | Path, edit: CaptionEdit, names: Sequence[str] = (), create: bool = False
    ) -> CaptionsChanged:
        """Change the captions of images.

        Args:
            folder: The dataset.
            edit: The change.
            names: The images; by default all.
            create: Whether to also write captions for images that have none.

        Raises:
            NotFound: An image is not in the dataset, or as `check_folder`.
            InvalidInput: The change is empty, or a caption would become one that training cannot read.
            StorageFailed: Nothing has changed.
        """
        path = self.check_folder(folder)
        images = self._named(path, names) if names else self._images(path)
        return self._captions.edit(path, images, edit, create)

    def undo_captions(self, folder: str | Path) -> CaptionsChanged:
        """Undo the last change of captions. Raises NotFound, Conflict, StorageFailed."""
        return self._captions.undo(self.check_folder(folder))

    def caption_changes(self, folder: str | Path) -> int:
        """Return the number of changes of captions that can be undone."""
        return self._captions.can_undo(self.check_folder(folder))

    def tags(self, folder: str | Path) -> list[tuple[str, int]]:
        """Return the tags of all captions, the most frequent first, and the number of images that have each."""
        return tag_counts(self._images(self.check_folder(folder)))

    def count_tokens(self, caption: str) -> tuple[int, int]:
        """Return the number of tokens of a caption, and how many fit into a prompt. Raises InvalidInput."""
        return count_tokens(caption), TOKEN_LIMIT

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

    def _path_of(self, text: str) -> Path:
        """Return the folder that was typed: a name alone is that of a dataset in the data folder, if there is one."""
        typed = typed_text(text)
        if typed not in (".", "..") and not typed.startswith(".") and Path(typed).name == typed and "\0" not in typed:
            named = self._contents.root / typed
            if os.path.isdir(named):  # noqa: PTH112 - Path.is_dir raises an error for a long name before Python 3.12
                return named
        return typed_path(text)

    def _images(self, folder: Path) -> Sequence[CheckedImage]:
        """Return the images of a dataset and of its subfolders for repeats."""
        return self._checking.read(folder, CheckOptions(repeats=True))

    def _named(self, folder: Path, names: Sequence[str]) -> list[CheckedImage]:
        """Return images by their names. Raises NotFound, InvalidInput."""
        if not names:
            raise InvalidInput(msg("No image is given."), msg("Select at least one."))
        by_name = {image.name: image for image in self._images(folder)}
        for name in names:
            if name not in by_name:
                raise NotFound(msg('There is no image "{name}" in "{folder}".', name=name, folder=folder))
        return [by_name[name] for name in dict.fromkeys(names)]


def _check_masks(masks: str) -> None:
    if masks not in get_args(MaskSource):
        raise InvalidInput(
            msg('"{value}" is not a valid mask source.', value=masks),
            msg("Use one of {names}.", names=joined(get_args(MaskSource))),
        )


def _read_template(file: Path) -> tuple[str, ...]:
    from train_embedding.engine.data.captions import decode_text

    try:
        text = decode_text(read_regular_file(file, MAX_TEMPLATE_SIZE)[:MAX_TEMPLATE_SIZE])
    except (OSError, ValueError) as error:
        logger.warning("The caption template %s cannot be read: %s", file, error)
        return ()
    return tuple(line.strip() for line in text.splitlines() if line.strip())
