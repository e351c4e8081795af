"""The training pictures: found, read, cropped and captioned."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from train_embedding.engine.captions import picture_words
from train_embedding.errors import NotAllowed, NotFound, NothingToTrainOn, UnreadableFile

MAX_PIXELS = 178_956_970
"Larger pictures are left out; where Pillow itself, by default, takes a picture for an attack."
_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif", ".heic", ".heif", ".jxl"}
)  # fmt: skip
_MASK = "-masklabel."


@dataclass(frozen=True)
class Picture:
    """One training picture. pixels: float [3, H, W] in -1…1. words: what `[filewords]` stands for."""

    file: Path
    pixels: torch.Tensor
    words: str


def find_pictures(folder: Path) -> list[Path]:
    """Files directly in the folder that are named like pictures, by name; loss masks and hidden files are none.

    Raises NotFound when the folder is not there and NotAllowed when it may not be read.
    """
    if not folder.is_dir():
        raise NotFound(f'There is no folder "{folder}".', "Give the folder that holds the training pictures.")
    try:
        files = sorted(folder.iterdir())
    except OSError as error:
        raise NotAllowed(f'The folder "{folder}" cannot be read: {error.strerror or error}.') from error
    return [
        file
        for file in files
        if file.suffix.lower() in _SUFFIXES and not file.name.startswith(".") and _MASK not in file.name and file.is_file()
    ]


def read_pictures(
    folder: Path, width: int, height: int, allowed: Sequence[Path] | None = None
) -> tuple[list[Picture], list[tuple[str, str]]]:
    """The folder's pictures, cropped to width × height pixels, and (file name, reason) of those that cannot be used.

    allowed: as for `check_picture`. Raises what `find_pictures` raises, and NothingToTrainOn when no picture is left.
    """
    pictures: list[Picture] = []
    skipped: list[tuple[str, str]] = []
    for file in find_pictures(folder):
        try:
            _check_place(file, allowed)
            pictures.append(Picture(file, read_picture(file, width, height), picture_words(file)))
        except UnreadableFile as error:
            skipped.append((file.name, error.message))
    if not pictures:
        raise nothing_usable(folder, skipped)
    return pictures, skipped


def check_picture(file: Path, allowed: Sequence[Path] | None = None) -> None:
    """Opens the picture without decoding it, which finds most of what is wrong, and reads its caption.

    allowed: folders that the picture and its caption must lie in, links resolved; None for anywhere.
    Raises UnreadableFile with the reason.
    """
    _check_place(file, allowed)
    with _opened(file) as picture:
        picture.verify()
    picture_words(file)


def read_picture(file: Path, width: int, height: int) -> torch.Tensor:
    """One picture as float [3, height, width] in -1…1, turned as its EXIF says, scaled and cropped around its centre.

    Raises UnreadableFile with the reason.
    """
    with _opened(file) as opened:
        upright = ImageOps.exif_transpose(opened)
        picture = ImageOps.fit(_rgb(upright), (width, height), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1).float() / 127.5 - 1


def nothing_usable(folder: Path, skipped: Sequence[tuple[str, str]]) -> NothingToTrainOn:
    """The error for a folder in which no picture is left. skipped: file names and reasons."""
    if not skipped:
        return NothingToTrainOn(f'There is no picture in "{folder}".', "Subfolders are not searched.")
    name, reason = skipped[0]
    files = "1 file was" if len(skipped) == 1 else f"{len(skipped)} files were"
    return NothingToTrainOn(f'There is no usable picture in "{folder}": {files} skipped. "{name}": {reason}')


@contextmanager
def _opened(file: Path) -> Iterator[Image.Image]:
    """The picture, not yet decoded. Whatever goes wrong inside the context becomes UnreadableFile with the reason."""
    if file.suffix.lower() not in Image.registered_extensions():
        raise UnreadableFile(f"The Pillow that is installed reads no {file.suffix} pictures.")
    try:
        if file.stat().st_size == 0:
            raise UnreadableFile("It is empty.")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of sizes that are checked here, and of odd palettes
            with Image.open(file) as picture:
                if picture.width * picture.height > MAX_PIXELS:
                    raise UnreadableFile(f"It has {picture.width} × {picture.height} pixels, which is too many.")
                yield picture
    except UnreadableFile:
        raise
    except UnidentifiedImageError as error:
        raise UnreadableFile("It is not a picture.") from error
    except Image.DecompressionBombError as error:
        raise UnreadableFile("It has too many pixels.") from error
    except Exception as error:  # a broken picture can raise nearly anything
        raise UnreadableFile(f"It is damaged: {str(error)[:200] or type(error).__name__}") from error


def _check_place(file: Path, allowed: Sequence[Path] | None) -> None:
    if allowed is None:
        return
    roots = [folder.resolve() for folder in allowed]
    for path in (file, file.with_suffix(".txt")):
        try:
            inside = any(path.resolve().is_relative_to(root) for root in roots)
        except (OSError, RuntimeError) as error:
            raise UnreadableFile(f'"{path.name}" is a link that cannot be followed.') from error
        if not inside:
            raise UnreadableFile(f'"{path.name}" is a link that leads outside the folders that may be used on this server.')


def _rgb(picture: Image.Image) -> Image.Image:
    """RGB of 8 bits; transparent parts become white, as a picture viewer shows them."""
    if picture.mode == "I" or picture.mode.startswith("I;16"):  # which Pillow's own conversion would clip at 255
        return Image.fromarray((np.asarray(picture).clip(0, 65535) / 257).round().astype(np.uint8)).convert("RGB")
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        rgba = picture.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return picture.convert("RGB")
