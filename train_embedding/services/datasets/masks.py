"""Masks of images: written, removed, made from the foreground, and undone."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from train_embedding.embeddings.regular_files import read_regular_file
from train_embedding.errors import Conflict, InvalidInput, NotFound, UnreadableFile, cannot_read
from train_embedding.messages import NOTHING, Message, msg
from train_embedding.services.datasets.checks import CheckedImage, shown_size
from train_embedding.services.datasets.contents import MASK_END, Contents
from train_embedding.services.datasets.finding import Finder
from train_embedding.services.datasets.history import History, Subject
from train_embedding.services.store.transaction import Change

if TYPE_CHECKING:
    from PIL import Image

UNDO = "masks-undo"
"The subfolder with the changes that can be undone."
MAX_BYTES = 64 * 2**20
"Largest mask file that can be replaced or removed."
MAX_PAINTED_BYTES = 8 * 2**20
"Largest mask file that is accepted."
MAX_PIXELS = 16 * 2**20
"Most pixels of a mask that is accepted, and to which one is enlarged."
_UNIFORM = 2
"Smallest difference of two grey levels that training sees."


@dataclass(frozen=True)
class MasksChanged:
    """The outcome of a change of masks."""

    files: tuple[str, ...]
    "Names of the mask files that were written or removed."
    in_trash: tuple[str, ...] = ()
    "Names of earlier mask files that are in the trash."
    note: Message = NOTHING

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, as the API answers them."""
        return {"files": list(self.files), "in_trash": list(self.in_trash), "note": self.note or None}


class Masks:
    """The mask files of datasets. White is trained, black is left out. Safe to use from any thread.

    Args:
        contents: Makes the changes.
        finder: Finds datasets and images.
    """

    def __init__(self, contents: Contents, finder: Finder) -> None:
        self._contents = contents
        self._finder = finder
        self._history = History(contents, _SUBJECT)

    def write(self, folder: str | Path, name: str, data: bytes, *, replace: bool = False) -> MasksChanged:
        """Write the mask of an image as a PNG file in the size of the image, as far as MAX_PIXELS allows.

        Args:
            folder: The dataset.
            name: The image.
            data: An image file with the shape of the upright image, of any size.
            replace: Whether a present mask file is moved to the trash.

        Raises:
            InvalidInput: It is not an image, too large, of another shape, or the same everywhere.
            Conflict: There is a mask file, and `replace` is false.
            NotFound: The image is not in the dataset, or as `Finder.folder`.
            UnreadableFile: The image or the present mask cannot be read.
            StorageFailed: Nothing was written.
        """
        path = self._finder.folder(folder)
        image = self._readable(path, name)
        mask = _fitting(_decoded(data), image)
        target = image.file.with_name(f"{image.file.stem}{MASK_END}.png")
        present = [file for file in _mask_files(image.file) if os.path.lexists(file)]
        if present and not replace:
            raise Conflict(
                msg('"{name}" already has a mask file: {file}.', name=name, file=present[0].name),
                msg("Confirm that it is replaced. It is moved to the trash then."),
            )
        wanted: dict[Path, bytes | None] = dict.fromkeys(present)
        wanted[target] = _as_png(mask)
        return self._change(path, wanted, present)

    def remove(self, folder: str | Path, names: Sequence[str]) -> MasksChanged:
        """Move the mask files of images to the trash.

        Raises:
            NotFound: An image is not in the dataset, none has a mask file, or as `Finder.folder`.
            UnreadableFile: A mask file cannot be read.
            StorageFailed: Nothing was moved.
        """
        path = self._finder.folder(folder)
        found = [file for image in self._finder.named(path, names) for file in _mask_files(image.file) if os.path.lexists(file)]
        present = list(dict.fromkeys(found))
        if not present:
            raise NotFound(msg("There is no mask file to remove."))
        return self._change(path, dict.fromkeys(present), present)

    def has_file(self, image: CheckedImage) -> bool:
        """Whether an image has a mask file."""
        return any(os.path.lexists(file) for file in _mask_files(image.file))

    def read(self, folder: str | Path, name: str, side: int) -> bytes | None:
        """Return the mask of an image, from its file or its transparency, as a grey PNG file; None without one.

        Args:
            folder: The dataset.
            name: The image.
            side: Its largest width and height in pixels.

        Raises:
            NotFound: As `write`.
            UnreadableFile: The image or its mask cannot be decoded.
        """
        from train_embedding.engine.data.image import mask_path, read_header
        from train_embedding.services.datasets.measures import alpha_of, mask_image

        image = self._readable(self._finder.folder(folder), name)
        file = self._finder.file(mask_path(image.file))
        found = mask_image(file, side) if file.is_file() else alpha_of(image.file, read_header(image.file), side)
        return None if found is None else _as_png(found)

    def foreground(self, folder: str | Path, name: str) -> bytes:
        """Return a mask of the foreground of an image as a PNG file, by a model of rembg on this machine.

        Raises:
            InvalidInput: There is no such model; `foreground_problem` says so.
            NotFound: As `write`.
            UnreadableFile: The image or the model cannot be read.
            TrainingFailed: The model fails.
        """
        from train_embedding.engine.data.image import read_header
        from train_embedding.engine.segmentation import foreground
        from train_embedding.services.datasets.measures import decoded_image

        image = self._readable(self._finder.folder(folder), name)
        return _as_png(foreground(decoded_image(image.file, read_header(image.file), side=1024)))

    def foreground_problem(self) -> Message:
        """Say why `foreground` is not available; empty if it is."""
        from train_embedding.engine.segmentation import segmentation_problem

        return segmentation_problem()

    def undo(self, folder: str | Path) -> MasksChanged:
        """Undo the last change of masks. Raises NotFound, Conflict, StorageFailed."""
        undone = self._history.undo(self._finder.folder(folder))
        return MasksChanged(tuple(file.name for file in undone.files), note=undone.note)

    def can_undo(self, folder: str | Path) -> int:
        """Return the number of changes that can be undone."""
        return self._history.count(self._finder.folder(folder))

    def _readable(self, folder: Path, name: str) -> CheckedImage:
        """Return an image whose header can be read. Raises NotFound, UnreadableFile."""
        image = self._finder.named(folder, [name])[0]
        if not all(image.size):
            raise UnreadableFile(image.problem or msg("It is not an image."))
        return image

    def _change(self, folder: Path, wanted: dict[Path, bytes | None], present: Sequence[Path]) -> MasksChanged:
        trash = self._contents.mask_trash(folder)
        kept = trash.plan_copy(present[0].stem, present, folder) if present else Change()
        changed = self._history.change(folder, lambda: wanted, kept)
        return MasksChanged(tuple(file.name for file in changed), tuple(file.name for file in present))


def _mask_files(image: Path) -> list[Path]:
    """Return the paths at which training looks for the mask of an image."""
    usual = image.with_name(f"{image.stem}{MASK_END}.png")
    return list(dict.fromkeys((usual, usual.with_suffix(image.suffix))))


def _decoded(data: bytes) -> Image.Image:
    """Decode a mask in a separate process to grey, with black where it is transparent. Raises InvalidInput."""
    from PIL import Image, ImageOps

    from train_embedding.images.decoder import decode_image
    from train_embedding.images.errors import NotDecoded
    from train_embedding.images.kinds import HEAD, kind_of
    from train_embedding.images.limits import MEMORY, SECONDS, Limits

    if len(data) > MAX_PAINTED_BYTES:
        raise InvalidInput(msg("The mask is larger than {limit} MB.", limit=MAX_PAINTED_BYTES // 2**20))
    kind = kind_of(data[:HEAD])
    if not kind:
        raise InvalidInput(msg("The mask is not an image."))
    try:
        found = ImageOps.exif_transpose(decode_image(data, kind, Limits(MAX_PIXELS, MEMORY, SECONDS)))
    except NotDecoded as error:
        raise InvalidInput(msg("The mask cannot be decoded: {reason}.", reason=error.reason)) from error
    if found.mode in ("LA", "RGBA", "PA"):
        opaque = found.convert("RGBA")
        found = Image.alpha_composite(Image.new("RGBA", opaque.size, "black"), opaque)
    return found.convert("L")


def _fitting(mask: Image.Image, image: CheckedImage) -> Image.Image:
    """Return a mask in the size of an image. Raises InvalidInput if it has another shape or no effect."""
    from PIL import Image

    from train_embedding.engine.data.image import has_same_shape

    if not has_same_shape(mask.size, image.size):
        sizes = {"mask": shown_size(mask.size), "image": shown_size(image.size)}
        raise InvalidInput(msg("The mask has another shape: {mask}; the image has {image}.", **sizes))
    least, most = mask.getextrema()
    if isinstance(least, tuple) or isinstance(most, tuple) or most - least < _UNIFORM:
        raise InvalidInput(
            msg("The mask is the same everywhere, so it would have no effect."),
            msg("Paint what training should learn, and leave the rest out."),
        )
    fits = image.size[0] * image.size[1] <= MAX_PIXELS
    return mask.resize(image.size, Image.Resampling.BILINEAR) if fits and mask.size != image.size else mask


def _as_png(image: Image.Image) -> bytes:
    data = BytesIO()
    image.save(data, "PNG")
    return data.getvalue()


def _content(file: Path) -> bytes | None:
    """Return the content of a mask file; None if there is none. Raises UnreadableFile."""
    try:
        data = read_regular_file(file, MAX_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UnreadableFile(cannot_read(file, error)) from error
    if len(data) > MAX_BYTES:
        raise UnreadableFile(msg('"{file}" is larger than {most} MB.', file=file, most=MAX_BYTES // 2**20))
    return data


def _is_mask(name: str) -> bool:
    return Path(name).stem.endswith(MASK_END)


_SUBJECT = Subject(
    UNDO,
    _is_mask,
    _content,
    nothing=msg("There is no change of masks to undo."),
    changed=msg("The masks have been changed since, so nothing was undone."),
)
