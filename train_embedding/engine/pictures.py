"""One picture file: opened with care, measured, and decoded to the pixels and the mask that are trained on."""

from __future__ import annotations

import importlib
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from train_embedding.engine.buckets import Size
from train_embedding.errors import UnreadableFile

MAX_PIXELS = 178_956_970
"Larger pictures are left out; where Pillow itself, by default, takes a picture for an attack."
MASK_SUFFIX = "-masklabel.png"
_PLUGINS = {"pillow_heif": "register_heif_opener", "pillow_avif": "", "pillow_jxl": ""}
"Packages that teach Pillow further kinds of pictures, and what has to be called in them."
_ORIENTATION, _TURNED = 0x0112, (5, 6, 7, 8)
"The EXIF tag, and its values for pictures that lie on their side."
_MASK_SHAPE = 0.03
"How far, as a share, the shape of a mask may be from that of its picture."


@dataclass(frozen=True)
class Pixels:
    """A decoded picture. colour: float [3, H, W] in -1…1. mask: float [H, W], 0…1; None where every place counts alike."""

    colour: torch.Tensor
    mask: torch.Tensor | None = None


def verify(file: Path) -> None:
    """Opens the picture without decoding it, which finds most of what is wrong. Raises UnreadableFile with the reason."""
    with _opened(file) as picture:
        picture.verify()


def measure(file: Path) -> tuple[Size, bool]:
    """The picture's size, turned as its EXIF says, and whether it can be transparent, without decoding it.

    Raises UnreadableFile with the reason.
    """
    with _opened(file) as picture:
        turned = picture.getexif().get(_ORIENTATION) in _TURNED
        size = (picture.height, picture.width) if turned else (picture.width, picture.height)
        return size, _has_alpha(picture)


def read_pixels(file: Path, size: Size, fit: str = "crop", mask: str = "") -> Pixels:
    """The picture, turned as its EXIF says and brought to `size`, its transparent parts white.

    fit: "crop" scales it to cover the size and cuts off what stands out around its centre, "resize" distorts it.
    mask: "alpha" for its transparency, "file" for the mask file beside it, "" for none. Raises UnreadableFile with the reason.
    """
    with _opened(file) as opened:
        upright = ImageOps.exif_transpose(opened)
        colour = _framed(_rgb(upright), size, fit, Image.Resampling.LANCZOS)
        shown = upright.convert("RGBA").getchannel("A") if mask == "alpha" and _has_alpha(upright) else None
        shape = upright.size
    if mask == "file":
        shown = _read_mask(mask_file(file), shape)
    if shown is not None:
        shown = _framed(shown, size, fit, Image.Resampling.BILINEAR)
    return Pixels(
        torch.from_numpy(np.asarray(colour).copy()).permute(2, 0, 1).float() / 127.5 - 1,
        None if shown is None else torch.from_numpy(np.asarray(shown).copy()).float() / 255,
    )


def mask_file(picture: Path) -> Path:
    """Where the picture's mask lies, if it has one."""
    return picture.with_name(picture.stem + MASK_SUFFIX)


def _read_mask(file: Path, shape: Size) -> Image.Image:
    """A mask of 8 bits, white for what counts; transparent parts are black. shape: size of the picture it belongs to."""
    try:
        with _opened(file) as opened:
            upright = ImageOps.exif_transpose(opened)
            if _has_alpha(upright):
                rgba = upright.convert("RGBA")
                upright = Image.alpha_composite(Image.new("RGBA", rgba.size, (0, 0, 0, 255)), rgba)
            mask = _rgb(upright).convert("L")
    except UnreadableFile as error:
        raise UnreadableFile(f'Its mask "{file.name}" cannot be used: {error.message}') from error
    if abs(math.log(mask.width * shape[1] / (mask.height * shape[0]))) > _MASK_SHAPE:
        raise UnreadableFile(
            f'Its mask "{file.name}" has another shape: {mask.width} × {mask.height} pixels, the picture {shape[0]} × {shape[1]}.'
        )
    return mask


@contextmanager
def _opened(file: Path) -> Iterator[Image.Image]:
    """The picture, not yet decoded. Whatever goes wrong inside the context becomes UnreadableFile with the reason."""
    if not _readable_kind(file):
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
    except FileNotFoundError as error:
        raise UnreadableFile("It is no longer there.") from error
    except Exception as error:  # a broken picture can raise nearly anything
        if isinstance(error, OSError) and error.errno:
            raise UnreadableFile(f"It cannot be read: {error.strerror or error}.") from error
        raise UnreadableFile(f"It is damaged: {str(error)[:200] or type(error).__name__}") from error


def _readable_kind(file: Path) -> bool:
    suffix = file.suffix.lower()
    if suffix not in Image.registered_extensions():
        _register_plugins()
    return suffix in Image.registered_extensions()


@lru_cache(maxsize=1)
def _register_plugins() -> None:
    """Lets Pillow use the plugins that are installed; tried when a picture needs one, once."""
    for name, register in _PLUGINS.items():
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue  # then its kinds of pictures are named as unreadable
        if register:
            getattr(module, register)()


def _framed(picture: Image.Image, size: Size, fit: str, resampling: Image.Resampling) -> Image.Image:
    return ImageOps.fit(picture, size, resampling) if fit == "crop" else picture.resize(size, resampling)


def _has_alpha(picture: Image.Image) -> bool:
    """A transparent colour of a picture of 16 bits does not count: Pillow cannot make alpha of it."""
    marked = "transparency" in picture.info and not picture.mode.startswith("I")
    return marked or picture.mode in ("RGBA", "LA", "PA", "RGBa", "La")


def _rgb(picture: Image.Image) -> Image.Image:
    """RGB of 8 bits; transparent parts become white, as a picture viewer shows them. Raises UnreadableFile for other numbers."""
    if picture.mode == "F":  # nothing tells which of its numbers is white
        raise UnreadableFile("Its pixels are floating-point numbers. Save it with 8 or 16 bits per channel.")
    if picture.mode == "I" or picture.mode.startswith("I;16"):  # which Pillow's own conversion would clip at 255
        return Image.fromarray((np.asarray(picture).clip(0, 65535) / 257).round().astype(np.uint8)).convert("RGB")
    if _has_alpha(picture):
        rgba = picture.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return picture.convert("RGB")
