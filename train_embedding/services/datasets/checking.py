"""Checking a dataset: reads the headers, captions and masks of its images, and what has been measured of their pixels."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from train_embedding.errors import NotAllowed, UnreadableFile
from train_embedding.hosts.base import Host, HostInfo
from train_embedding.messages import NOTHING, Message
from train_embedding.services.datasets.checks import (
    CheckedImage,
    CheckOptions,
    DatasetCheck,
    ReadImage,
    checked,
    folder_notes,
    kept_measures,
    with_measures,
)
from train_embedding.services.datasets.measure_cache import MeasureCache
from train_embedding.services.datasets.measures import MEASURED_SIDE, picture
from train_embedding.services.datasets.measuring import Measurable, Measuring
from train_embedding.services.datasets.warnings import warnings_about

if TYPE_CHECKING:
    from train_embedding.engine.data.crops import Crop, FolderCrops
    from train_embedding.engine.data.image import Header
    from train_embedding.services.datasets.measure_cache import Stamp

CACHE_FILE = "image-measures.sqlite3"
MAX_HEADERS = 50_000
"Number of headers that are kept in memory."


@dataclass(frozen=True)
class _Opened:
    """What opening the files of an image has shown."""

    header: Header | None
    caption: str
    problem: Message


class Checking:
    """Checks datasets. Safe to use from any thread.

    Args:
        host: The host, for the native size of its checkpoint and its folders.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._lock = threading.Lock()
        self._opened: dict[tuple[Path, str], tuple[Stamp, _Opened]] = {}
        self._measuring: tuple[Path, Measuring] | None = None

    @property
    def measuring(self) -> Measuring:
        """The measures of images, kept next to the runs folder."""
        file = self._host.info().runs_folder.parent / CACHE_FILE
        with self._lock:
            if self._measuring is None or self._measuring[0] != file:
                self._measuring = file, Measuring(MeasureCache(file))
            return self._measuring[1]

    def check(
        self,
        folder: Path,
        options: CheckOptions,
        progress: Callable[[int, int], object] = lambda _done, _total: None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> DatasetCheck:
        """Check all images, after measuring those that have changed since they were measured last.

        Args:
            folder: The dataset, which may be read.
            options: How it is trained.
            progress: Called while images are measured with the number that are done, and of all.
            stopped: Returns whether to stop measuring and return what is known.
        """
        images = self._read(folder, options)
        self.measuring.measure_all(self._measurable(images), progress, stopped)
        return self._result(folder, options, images)

    def look(
        self,
        folder: Path,
        options: CheckOptions,
        progress: Callable[[int, int], object] = lambda _done, _total: None,
    ) -> DatasetCheck:
        """Check all images with what has been measured already, and measure the others in a thread.

        Args:
            folder: The dataset, which may be read.
            options: How it is trained.
            progress: Called while files are opened with the number that are done, and of all.
        """
        images = self._read(folder, options, progress=progress)
        self.measuring.start(self._measurable(images))
        return self._result(folder, options, images)

    def read(self, folder: Path, options: CheckOptions, names: Collection[str] | None = None) -> list[CheckedImage]:
        """Return the images of a dataset without what their pixels show: all, or those with some names."""
        sizes = training_sizes(options, self._host.info())
        return [checked(image, options, sizes) for image in self._read(folder, options, names)]

    def read_again(self, check: DatasetCheck, names: Collection[str]) -> DatasetCheck:
        """Return a check with some of its images read again or left out; what pixels show and the notes are those of before."""
        read = self._read(check.folder, check.options, names)
        self.measuring.add(self._measurable(read))
        sizes = training_sizes(check.options, self._host.info())
        again = {image.name: checked(image, check.options, sizes) for image in read}
        images = [
            kept_measures(again[image.name], image) if image.name in again else image
            for image in check.images
            if image.name in again or image.name not in names
        ]
        return replace(check, images=tuple(images))

    def picture(self, image: CheckedImage, side: int = MEASURED_SIDE, whole: bool = False) -> bytes:
        """Return the part of an image that training uses, or all of it, as a JPEG file. Raises UnreadableFile."""
        from train_embedding.engine.data.image import read_header

        return picture(image.file, read_header(image.file), None if whole else image.crop, side)

    def thumbnails(self, images: Sequence[CheckedImage]) -> dict[Path, tuple[bytes, bytes]]:
        """Return the thumbnail and the mask of each measured image, as JPEG files."""
        return self.measuring.cache.thumbnails({image.file: image.stamp for image in images})

    def _result(self, folder: Path, options: CheckOptions, read: Sequence[ReadImage]) -> DatasetCheck:
        sizes, cache = training_sizes(options, self._host.info()), self.measuring.cache
        images = [checked(image, options, sizes) for image in read]
        known = {image.name: cache.get(image.file, image.stamp) for image in read if image.header is not None}
        measured = {name: found for name, found in known.items() if found is not None}
        result = with_measures(images, measured)
        usable = {image.file: image.caption for image in result if not image.problem and not image.excluded}
        names = sorted(os.listdir(folder))
        notes = [*warnings_about(folder, usable, options.repeats), *folder_notes(folder, result, names)]
        return DatasetCheck(folder, result, tuple(notes), options)

    def _measurable(self, images: Sequence[ReadImage]) -> list[Measurable]:
        from train_embedding.engine.data.image import mask_path

        return [
            Measurable(image.file, image.stamp, image.header, mask_path(image.file) if image.has_mask_file else None, image.crop)
            for image in images
            if image.header is not None
        ]

    def _read(
        self,
        folder: Path,
        options: CheckOptions,
        names: Collection[str] | None = None,
        progress: Callable[[int, int], object] = lambda _done, _total: None,
    ) -> list[ReadImage]:
        from train_embedding.engine.data.crops import FolderCrops
        from train_embedding.engine.data.exclusions import read_excluded
        from train_embedding.engine.data.file_names import displayable
        from train_embedding.engine.data.image_folder import list_all_images

        allowed = self._host.info().allowed_folders
        files, skipped = list_all_images(folder, options.repeats, allowed)
        if names is not None:
            files = [found for found in files if displayable(found[0].relative_to(folder).as_posix()) in names]
            skipped = [found for found in skipped if found[0] in names]
        excluded = {parent: read_excluded(parent) for parent in {file.parent for file, _ in files}}
        crops = FolderCrops()
        images: list[ReadImage] = []
        for file, repeats in files:
            progress(len(images), len(files))
            is_excluded = displayable(file.name) in excluded[file.parent]
            image = self._read_image(folder, file, repeats, is_excluded, options.masks)
            images.append(_with_crop(image, crops))
        images += [ReadImage(name, folder / name, 1, None, (), False, "", False, False, reason) for name, reason in skipped]
        return images

    def _read_image(self, folder: Path, file: Path, repeats: int, excluded: bool, masks: str) -> ReadImage:
        from train_embedding.engine.data.captions import caption_path, file_exists
        from train_embedding.engine.data.file_names import displayable
        from train_embedding.engine.data.image import mask_path

        mask, caption = mask_path(file), caption_path(file)
        stamp = (*_stamp(file), *_stamp(mask))
        key, whole = (file, masks), (*stamp, *_stamp(caption))
        with self._lock:
            known = self._opened.get(key)
        opened = known[1] if known is not None and known[0] == whole else self._open(file, masks)
        with self._lock:
            if len(self._opened) >= MAX_HEADERS:
                self._opened.clear()
            self._opened[key] = whole, opened
        name = displayable(file.relative_to(folder).as_posix())
        return ReadImage(
            name, file, repeats, opened.header, stamp, file_exists(mask), opened.caption, file_exists(caption), excluded,
            opened.problem,
        )  # fmt: skip

    def _open(self, file: Path, masks: str) -> _Opened:
        from train_embedding.engine.data.image import read_header
        from train_embedding.engine.data.image_folder import check_image, check_place

        header: Header | None = None
        try:
            check_place(file, self._host.info().allowed_folders)
            header = read_header(file)
            return _Opened(header, check_image(file, self._host.info().allowed_folders, masks), NOTHING)
        except (UnreadableFile, NotAllowed) as error:
            return _Opened(header, "", error.text)


def training_sizes(options: CheckOptions, info: HostInfo) -> tuple[tuple[int, int], ...]:
    """Return the sizes that a run with these options trains at."""
    from train_embedding.engine.data.buckets import bucket_sizes

    size = (options.width or info.resolution, options.height or info.resolution)
    return bucket_sizes(*size) if options.buckets else (size,)


def _with_crop(image: ReadImage, crops: FolderCrops) -> ReadImage:
    """Add the crop of an image, or why it cannot be used."""
    if image.header is None:
        return image
    try:
        crop: Crop | None = crops.of(image.file)
    except UnreadableFile as error:
        return replace(image, problem=image.problem or error.text)
    if crop is None:
        return image
    return replace(image, crop=crop, stamp=(*image.stamp, *crop.box(image.header.size)))


def _stamp(file: Path) -> tuple[int, int]:
    """Return the modification time in nanoseconds and the size in bytes of a file; zeros if it does not exist."""
    try:
        status = file.stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size
