"""Datasets: folders of training images."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from train_embedding.allowed_folders import resolve_allowed
from train_embedding.embeddings.storage import remove_tree
from train_embedding.engine.config.spec import MaskSource
from train_embedding.errors import InvalidInput, UnreadableFile
from train_embedding.hosts.base import Host
from train_embedding.messages import Message, joined, msg
from train_embedding.services.datasets.auto_captions import AutoCaptions, CaptionJob, CaptionRequest
from train_embedding.services.datasets.caption_templates import find_templates
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
from train_embedding.services.datasets.crop_jobs import CropJobs
from train_embedding.services.datasets.crops import Crops
from train_embedding.services.datasets.finding import Finder
from train_embedding.services.datasets.incoming import Upload
from train_embedding.services.datasets.masks import Masks
from train_embedding.services.datasets.warnings import warnings_about
from train_embedding.services.store.trash import Trashed

if TYPE_CHECKING:
    from train_embedding.engine.data.image_folder import SkippedFile


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
        self._finder = Finder(host, self._checking)
        self._captions = CaptionEditor(self._contents)
        self._auto_captions = AutoCaptions(host, self._captions)
        self.crops = Crops(self._contents, self._finder, self._checking)
        "The part of each image that training uses."
        self.crop_jobs = CropJobs(self.crops)
        "Centre the crops of many images in a thread."
        self.masks = Masks(self._contents, self._finder)
        "The mask files of images."
        self._before_delete: list[Callable[[Path], object]] = []

    def call_before_delete(self, callback: Callable[[Path], object]) -> None:
        """Have a function called with the folder of a dataset before it is deleted as a whole. It may raise an error."""
        self._before_delete.append(callback)

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
        return self._finder.folder(folder)

    def check_file(self, file: Path) -> Path:
        """Check that a file may be read; return its absolute path, with links resolved. Raises InvalidInput, NotAllowed."""
        return self._finder.file(file)

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
        from train_embedding.engine.data.crops import FolderCrops
        from train_embedding.engine.data.image import mask_path
        from train_embedding.engine.data.image_folder import check_image, list_images, no_usable_images, skipped_file

        _check_masks(masks)
        path = self.check_folder(folder)
        allowed = self._host.info().allowed_folders
        files, skipped = list_images(path, repeats, allowed)
        usable: dict[Path, str] = {}
        crops = FolderCrops()
        for file, _repeats in files:
            try:
                caption = check_image(file, allowed, masks)
                crops.of(file)
                usable[file] = caption
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

    def names(self) -> tuple[str, ...]:
        """Return the names of the datasets in the data folder, without looking into them."""
        return self._contents.names()

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

    def look(
        self,
        folder: str | Path,
        options: CheckOptions | None = None,
        progress: Callable[[int, int], object] = lambda _done, _total: None,
    ) -> DatasetCheck:
        """Report like `check` with what is known already, and measure the other images in a thread.

        Args:
            folder: The dataset.
            options: How it is trained.
            progress: Called while files are opened with the number that are done, and of all.
        """
        options = options or CheckOptions()
        _check_masks(options.masks)
        return self._checking.look(self.check_folder(folder), options, progress)

    def look_again(self, check: DatasetCheck, names: Collection[str]) -> DatasetCheck:
        """Return a check after changes or removals of some images, without the costs of `look`: notes are as before."""
        self.check_folder(check.folder)
        return self._checking.read_again(check, names)

    def measure_first(self, images: Sequence[CheckedImage]) -> None:
        """Let the thread that `look` starts measure these images before the others."""
        self._checking.measuring.hurry(frozenset(image.file for image in images))

    def waiting(self) -> int:
        """Return how many images the thread that `look` starts has not measured yet."""
        return self._checking.measuring.waiting

    def thumbnails(self, images: Sequence[CheckedImage]) -> dict[str, tuple[bytes, bytes]]:
        """Return the thumbnail and the mask of each measured image by its name, as JPEG files of what training uses."""
        found = self._checking.thumbnails(images)
        return {image.name: found[image.file] for image in images if image.file in found}

    def find_image(self, folder: str | Path, name: str, options: CheckOptions | None = None) -> CheckedImage:
        """Return an image by its name, without what its pixels show. Raises NotFound, or as `check_folder`."""
        return self._finder.named(self.check_folder(folder), [name], options)[0]

    def whole_picture(self, image: CheckedImage, side: int) -> bytes:
        """Return all of an image as a JPEG file, upright and with a largest side in pixels. Raises as `picture`."""
        self.check_file(image.file)
        return self._checking.picture(image, side, whole=True)

    def picture(self, image: CheckedImage) -> bytes:
        """Return what training uses of an image, with at most 512 pixels, as a JPEG file. Raises UnreadableFile, NotAllowed."""
        self.check_file(image.file)
        return self._checking.picture(image)

    def remove(self, folder: str | Path, names: Sequence[str]) -> int:
        """Move images with their captions and masks to the trash; return the number of files.

        Raises:
            NotFound: An image is not in the dataset, or as `check_folder`.
            StorageFailed: Nothing was moved.
        """
        path = self.check_folder(folder)
        files = [image.file for image in self._finder.named(path, names)]
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
            Conflict: A training uses it.
            StorageFailed: Nothing was moved.
        """
        path = self.check_folder(folder)
        for callback in self._before_delete:
            callback(path)
        self._contents.delete(path)
        return path

    def deleted(self) -> list[Trashed]:
        """Return the datasets that were deleted as a whole, the newest first."""
        return self._contents.deleted()

    def undelete(self, item: str = "") -> Path:
        """Bring a deleted dataset back, the newest or an item by its id; return its folder.

        Raises:
            NotFound: There is no such item, or no dataset was deleted.
            Conflict: There is a dataset of this name.
            StorageFailed: Nothing was moved.
        """
        return self._contents.undelete(item)

    def exclude(self, folder: str | Path, names: Sequence[str], excluded: bool = True) -> int:
        """Exclude images from training, or include them again; return their number. Raises NotFound, StorageFailed."""
        path = self.check_folder(folder)
        images = self._finder.named(path, names)
        self._contents.exclude([image.file for image in images], excluded)
        return len(images)

    def captions(self, folder: str | Path, names: Sequence[str] = ()) -> Sequence[ImageCaption]:
        """Return the captions of images, by default of all. Raises NotFound."""
        path = self.check_folder(folder)
        images = self._finder.images(path, names)
        return [
            ImageCaption(image.name, image.caption, image.has_caption_file, count_tokens(image.caption))
            for image in images
            if not image.problem
        ]

    def write_caption(self, folder: str | Path, name: str, text: str) -> CaptionsChanged:
        """Write the caption of an image. Raises NotFound, InvalidInput, StorageFailed."""
        path = self.check_folder(folder)
        return self._captions.write(path, self._finder.named(path, [name])[0], text)

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
        images = self._finder.images(path, names)
        return self._captions.edit(path, images, edit, create)

    @property
    def auto_captions(self) -> AutoCaptions:
        """The present or the last job that generates captions."""
        return self._auto_captions

    def generate_captions(self, folder: str | Path, request: CaptionRequest, names: Sequence[str] = ()) -> CaptionJob:
        """Start a job that generates captions, in the host's queue.

        Args:
            folder: The dataset.
            request: How captions are generated.
            names: The images; by default all that are not excluded.

        Raises:
            NotFound: An image is not in the dataset, the model folder does not exist, or as `check_folder`.
            InvalidInput: The request is not valid.
            NotAllowed: The model folder may not be read, or as `check_folder`.
            Conflict: Another job is active.
        """
        path = self.check_folder(folder)
        request.check()
        if request.model_folder is not None:
            request = replace(request, model_folder=self._check_model_folder(request.model_folder))
        images = (
            self._finder.named(path, names) if names else [image for image in self._finder.images(path) if not image.excluded]
        )
        return self._auto_captions.start(path, images, request)

    def undo_captions(self, folder: str | Path) -> CaptionsChanged:
        """Undo the last change of captions. Raises NotFound, Conflict, StorageFailed."""
        return self._captions.undo(self.check_folder(folder))

    def caption_changes(self, folder: str | Path) -> int:
        """Return the number of changes of captions that can be undone."""
        return self._captions.can_undo(self.check_folder(folder))

    def tags_of(self, images: Sequence[CheckedImage]) -> Sequence[tuple[str, int]]:
        """Return the tags of the captions of images, the most frequent first, and the number of images that have each."""
        return tag_counts(images)

    def tags(self, folder: str | Path) -> list[tuple[str, int]]:
        """Return the tags of all captions, the most frequent first, and the number of images that have each."""
        return tag_counts(self._finder.images(self.check_folder(folder)))

    def count_tokens(self, caption: str) -> tuple[int, int]:
        """Return the number of tokens of a caption, and how many fit into a prompt. Raises InvalidInput."""
        return count_tokens(caption), TOKEN_LIMIT

    def templates(self) -> dict[str, tuple[str, ...]]:
        """Return the caption templates by name: those of this program, and the host's `*.txt` files, which take precedence.

        Every template has at least one line with [name].
        """
        return find_templates(self._host.info())

    def _check_model_folder(self, folder: Path) -> Path:
        """Return the path of a caption model. Raises NotAllowed, NotFound, UnreadableFile, InvalidInput."""
        from train_embedding.engine.captioning import check_caption_model

        path = resolve_allowed(folder, self._host.info().allowed_folders)
        check_caption_model(path)
        return path


def _check_masks(masks: str) -> None:
    if masks not in get_args(MaskSource):
        raise InvalidInput(
            msg('"{value}" is not a valid mask source.', value=masks),
            msg("Use one of {names}.", names=joined(get_args(MaskSource))),
        )
