"""Crops of images: chosen, centred on what an image is about, and undone. The images themselves are not changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from train_embedding.embeddings.regular_files import read_regular_file
from train_embedding.errors import InvalidInput, TrainEmbeddingError, UnreadableFile, cannot_read
from train_embedding.messages import NOTHING, SPACE, Message, joined, msg, plural
from train_embedding.services.datasets.checking import Checking
from train_embedding.services.datasets.checks import CheckedImage, CheckOptions
from train_embedding.services.datasets.contents import Contents
from train_embedding.services.datasets.finding import Finder
from train_embedding.services.datasets.history import History, Subject

if TYPE_CHECKING:
    from train_embedding.engine.data.crops import Crop

UNDO = "crops-undo"
"The subfolder with the changes that can be undone."
Box = tuple[int, int, int, int]
"Left, top, width and height in pixels of the upright image."


@dataclass(frozen=True)
class ImageCrop:
    """The part of an image that training uses."""

    name: str
    size: tuple[int, int]
    "Width and height of the upright image in pixels."
    crop: Crop | None
    "None for all of it."

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, as the API answers them."""
        return {"image": self.name, "size": list(self.size), "crop": self.crop.rectangle(self.size) if self.crop else None}


@dataclass(frozen=True)
class CropsChanged:
    """The outcome of a change of crops."""

    images: tuple[str, ...]
    "Names of the images whose crops changed."
    note: Message = NOTHING

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, as the API answers them."""
        return {"changed": len(self.images), "images": list(self.images), "note": self.note or None}


class Crops:
    """The crops of the images of datasets. Safe to use from any thread.

    Args:
        contents: Makes the changes.
        finder: Finds datasets and images.
        checking: Knows how training sees images.
    """

    def __init__(self, contents: Contents, finder: Finder, checking: Checking) -> None:
        self._finder = finder
        self._checking = checking
        self._history = History(contents, _subject())

    def list(self, folder: str | Path, names: Sequence[str] = ()) -> list[ImageCrop]:
        """Return the crops of images, by default of all that have one. Raises NotFound."""
        images = self._finder.images(self._finder.folder(folder), names)
        return [ImageCrop(image.name, image.size, image.crop) for image in images if image.crop is not None or names]

    def set(self, folder: str | Path, name: str, crop: Crop | None) -> CropsChanged:
        """Choose the part of an image that training uses; None for all of it.

        Raises:
            NotFound: The image is not in the dataset, or as `Finder.folder`.
            UnreadableFile: The file with the crops is damaged.
            StorageFailed: It cannot be written.
        """
        path = self._finder.folder(folder)
        image = self._finder.named(path, [name])[0]
        return self._change(path, {image: None if crop is not None and crop.is_whole else crop})

    def set_sides(self, folder: str | Path, name: str, sides: Mapping[str, Any] | None) -> CropsChanged:
        """Choose the part of an image by left, top, width and height as fractions, which may come from anywhere.

        Raises:
            InvalidInput: They are not numbers, or not inside the image.
            NotFound: As `set`.
            UnreadableFile: As `set`.
            StorageFailed: As `set`.
        """
        from train_embedding.engine.data.crops import SIDES, checked_crop

        return self.set(folder, name, None if sides is None else checked_crop(*(sides.get(side) for side in SIDES)))

    def set_box(self, folder: str | Path, name: str, box: Box) -> CropsChanged:
        """Choose the part of an image in pixels of the upright image.

        Raises:
            InvalidInput: It is empty or not inside the image.
            UnreadableFile: The image cannot be read, or as `set`.
            NotFound: As `set`.
            StorageFailed: As `set`.
        """
        from train_embedding.engine.data.crops import pixel_crop

        path = self._finder.folder(folder)
        image = self._finder.named(path, [name])[0]
        if not all(image.size):
            raise UnreadableFile(image.problem or msg("It is not an image."))
        crop = pixel_crop(box, image.size)
        return self._change(path, {image: None if crop.is_whole else crop})

    def clear(self, folder: str | Path, names: Sequence[str] = ()) -> CropsChanged:
        """Use whole images again, by default all. Raises as `set`."""
        path = self._finder.folder(folder)
        return self._change(path, dict.fromkeys(self._finder.images(path, names)))

    def centre(
        self,
        folder: str | Path,
        names: Sequence[str] = (),
        options: CheckOptions | None = None,
        progress: Callable[[int, int], object] = lambda _done, _total: None,
    ) -> CropsChanged:
        """Move the crops of images to the largest face in each, or else to its most salient part.

        An image without a crop gets the largest one with the shape of its bucket.

        Args:
            folder: The dataset.
            names: The images; by default all that are not excluded.
            options: How they are trained, which decides about their buckets.
            progress: Called after each image with the number that are done, and of all.

        Raises:
            InvalidInput: No image can be read.
            NotFound: As `set`.
            UnreadableFile: As `set`.
            StorageFailed: As `set`.
        """
        path = self._finder.folder(folder)
        wanted = [image.name for image in self._finder.named(path, names)] if names else None
        images = self._checking.read(path, replace(options or CheckOptions(), repeats=True), wanted)
        usable = [image for image in images if not image.problem and (names or not image.excluded)]
        chosen: dict[CheckedImage, Crop | None] = {}
        faces = 0
        for done, image in enumerate(usable, 1):
            crop, kind = self._centred(image)
            if kind:
                chosen[image], faces = crop, faces + (kind == "face")
            progress(done, len(usable))
        if not chosen:
            raise InvalidInput(msg("None of these images can be examined."))
        changed = self._change(path, chosen)
        return replace(changed, note=_focus_note(faces, len(chosen), len(images) - len(chosen) if names else 0))

    def undo(self, folder: str | Path) -> CropsChanged:
        """Undo the last change of crops. Raises NotFound, Conflict, StorageFailed."""
        path = self._finder.folder(folder)
        before = {image.name: image.crop for image in self._finder.images(path)}
        undone = self._history.undo(path)
        after = {image.name: image.crop for image in self._finder.images(path)}
        return CropsChanged(tuple(name for name in after if after[name] != before.get(name)), undone.note)

    def can_undo(self, folder: str | Path) -> int:
        """Return the number of changes that can be undone."""
        return self._history.count(self._finder.folder(folder))

    def faces_problem(self) -> Message:
        """Say why `centre` finds no faces; empty if it does."""
        from train_embedding.services.datasets.focus import faces_problem

        return faces_problem()

    def _centred(self, image: CheckedImage) -> tuple[Crop | None, str]:
        """Return the centred crop of an image and what it is centred on; "" if the image cannot be decoded."""
        from train_embedding.engine.data.image import read_header
        from train_embedding.services.datasets.focus import SIDE, crop_around, find_focus
        from train_embedding.services.datasets.measures import decoded_image

        try:
            focus = find_focus(decoded_image(image.file, read_header(image.file), side=SIDE))
        except TrainEmbeddingError:
            return None, ""
        crop = crop_around(focus, image.size, image.target, image.crop)
        return None if crop.is_whole else crop, focus.kind

    def _change(self, folder: Path, wanted: Mapping[CheckedImage, Crop | None]) -> CropsChanged:
        from train_embedding.engine.data.crops import CROPS_FILE, format_crops, read_crops
        from train_embedding.engine.data.file_names import displayable

        changed: list[str] = []

        def contents() -> dict[Path, bytes | None]:
            found: dict[Path, bytes | None] = {}
            for parent in {image.file.parent for image in wanted}:
                before = read_crops(parent)
                after = dict(before)
                for image, crop in wanted.items():
                    key = displayable(image.file.name)
                    value = None if crop is None else crop.to_json()
                    if image.file.parent == parent and before.get(key) != value:
                        changed.append(image.name)
                        after.pop(key, None)
                        after.update({key: value} if value else {})
                if after != before:
                    found[parent / CROPS_FILE] = format_crops(after) if after else None
            return found

        self._history.change(folder, contents)
        return CropsChanged(tuple(changed))


def _focus_note(faces: int, images: int, left: int) -> Message:
    parts = [
        plural("{count} image is centred on a face.", "{count} images are centred on a face.", faces) if faces else NOTHING,
        plural(
            "{count} image is centred on its most salient part.", "{count} images are centred on their most salient part.",
            images - faces,
        ) if images > faces else NOTHING,
        plural("{count} image cannot be examined.", "{count} images cannot be examined.", left) if left else NOTHING,
    ]  # fmt: skip
    return joined([part for part in parts if part], SPACE)


def _content(file: Path) -> bytes | None:
    """Return the content of a file with crops; None if there is none. Raises UnreadableFile."""
    from train_embedding.engine.data.crops import MAX_BYTES

    try:
        data = read_regular_file(file, MAX_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UnreadableFile(cannot_read(file, error)) from error
    if len(data) > MAX_BYTES:
        raise UnreadableFile(msg('"{file}" is larger than {most} MB.', file=file, most=MAX_BYTES // 2**20))
    return data


def _subject() -> Subject:
    return Subject(
        UNDO,
        _is_crops_file,
        _content,
        nothing=msg("There is no change of crops to undo."),
        changed=msg("The crops have been changed since, so nothing was undone."),
    )


def _is_crops_file(name: str) -> bool:
    from train_embedding.engine.data.crops import CROPS_FILE

    return name == CROPS_FILE
