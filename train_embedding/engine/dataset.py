"""The training pictures: found, read, cropped and captioned."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from train_embedding.engine.captions import picture_words
from train_embedding.errors import NotFound, NothingToTrainOn, UnreadableFile

MAX_PIXELS = 200_000_000
"Larger pictures are left out: decoding one would take over half a gigabyte."
_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif", ".heic", ".heif", ".jxl"})
_MASK = "-masklabel."


@dataclass(frozen=True)
class Picture:
    """One training picture. pixels: float [3, H, W] in -1…1. words: what `[filewords]` stands for."""

    file: Path
    pixels: torch.Tensor
    words: str


def find_pictures(folder: Path) -> list[Path]:
    """Files directly in the folder that look like pictures, by name; loss masks and hidden files are none.

    Raises NotFound when the folder is not there.
    """
    if not folder.is_dir():
        raise NotFound(f'There is no folder "{folder}".', "Give the folder that holds the training pictures.")
    try:
        files = sorted(folder.iterdir())
    except OSError as error:
        raise NotFound(f'The folder "{folder}" cannot be read: {error.strerror}.') from error
    return [
        file
        for file in files
        if file.suffix.lower() in _SUFFIXES and not file.name.startswith(".") and _MASK not in file.name and file.is_file()
    ]


def read_pictures(folder: Path, width: int, height: int) -> tuple[list[Picture], list[tuple[str, str]]]:
    """The folder's pictures, cropped to width × height pixels, and (file name, reason) of those that cannot be used.

    Raises NotFound when the folder is not there and NothingToTrainOn when no picture is left.
    """
    pictures: list[Picture] = []
    skipped: list[tuple[str, str]] = []
    for file in find_pictures(folder):
        try:
            pictures.append(Picture(file, read_picture(file, width, height), picture_words(file)))
        except UnreadableFile as error:
            skipped.append((file.name, error.message))
    if not pictures:
        reason = f" ({skipped[0][0]}: {skipped[0][1]})" if skipped else ""
        raise NothingToTrainOn(
            f'The folder "{folder}" holds no usable picture; {len(skipped)} could not be read{reason}.',
            "Put some PNG, JPEG or WebP pictures there; subfolders are not searched.",
        )
    return pictures, skipped


def read_picture(file: Path, width: int, height: int) -> torch.Tensor:
    """One picture as float [3, height, width] in -1…1, turned as its EXIF says, scaled and cropped around its centre.

    Raises UnreadableFile with the reason.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of sizes that are checked here, and of odd palettes
            with Image.open(file) as opened:
                if opened.width * opened.height > MAX_PIXELS:
                    raise UnreadableFile(f"It has {opened.width} × {opened.height} pixels, which is too many.")
                upright = ImageOps.exif_transpose(opened)
                picture = ImageOps.fit(_without_alpha(upright), (width, height), Image.Resampling.LANCZOS)
    except UnidentifiedImageError as error:
        raise UnreadableFile("It is not a picture that can be read here.") from error
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise UnreadableFile(f"It cannot be read: {str(error)[:120] or type(error).__name__}") from error
    return torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1).float() / 127.5 - 1


def _without_alpha(picture: Image.Image) -> Image.Image:
    """RGB; transparent parts become white, as a picture viewer shows them."""
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        rgba = picture.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return picture.convert("RGB")
