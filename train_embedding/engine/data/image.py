"""Training images, which are untrusted files: checks, sizes, and decoding to pixels and masks."""

# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
# The annotations of NumPy, Pillow's TIFF tags and torch.from_numpy are incomplete.

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from train_embedding.embeddings.formats.impostors import describe_impostor
from train_embedding.embeddings.regular_files import open_regular_file
from train_embedding.engine.data.buckets import Size
from train_embedding.engine.data.crops import Crop
from train_embedding.engine.data.file_names import displayable
from train_embedding.errors import UnreadableFile
from train_embedding.images import webp
from train_embedding.images.decoder import decode_image
from train_embedding.images.errors import NotDecoded
from train_embedding.images.kinds import HEAD, KINDS, SUFFIXES, is_readable, kind_of, webp_is_safe
from train_embedding.images.limits import TRAINING_ISOLATED, TRAINING_PIXELS
from train_embedding.messages import msg

MASK_SUFFIX = "-masklabel.png"
_LARGE = 32_000_000
"Pixels above which an image is reduced during decoding, if the result stays the same to the eye."
_STRIP = 4_000_000
"Pixels of a large image that are converted at a time."
_GAP = 2.0
"Smallest ratio of the sides of a reduced image to those of the result."
_ORIENTATION, _TURNED = 0x0112, (5, 6, 7, 8)
"The EXIF tag for orientation, and its values that swap width and height."
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_WIDTH, _HEIGHT, _BITS, _MEANING, _NUMBERS = 256, 257, 258, 262, 339
"TIFF tags."
_HEADER = 64 * 2**10
"Bytes at the beginning of a file that identify its format."
_MASK_SHAPE = 0.03
"Largest difference of the logarithms of two aspect ratios that are considered equal."
_SAVE_WITH_16_BITS = msg("Save it with 8 or 16 bits per channel.")
_RESIZE = msg("Resize it.")
_Box = tuple[float, float, float, float]
"Left, top, right and bottom in pixels."


@dataclass(frozen=True)
class Pixels:
    """A decoded image.

    Attributes:
        colour: RGB from -1 to 1, fp32 [3, H, W].
        mask: From 0 to 1, fp32 [H, W]; None without a mask.
    """

    colour: torch.Tensor
    mask: torch.Tensor | None = None


def verify_image(file: Path) -> None:
    """Open an image without decoding it, which detects most errors. Raises UnreadableFile."""
    with _opened(file) as image:
        image.verify()


def measure_image(file: Path) -> tuple[Size, bool]:
    """Return an image's size after EXIF rotation, and whether it can be transparent, without decoding it.

    Raises:
        UnreadableFile: The file cannot be used.
    """
    header = read_header(file)
    return header.size, header.has_alpha


@dataclass(frozen=True)
class Header:
    """What is known of an image without decoding it.

    Attributes:
        size: Width and height in pixels, in the EXIF orientation.
        has_alpha: Whether it can be transparent.
        is_deep: Whether its pixels have more than 8 bits per channel.
        turn: The transposition that brings the decoded image into its EXIF orientation; None if it is upright.
    """

    size: Size
    has_alpha: bool
    is_deep: bool
    turn: Image.Transpose | None


def read_header(file: Path) -> Header:
    """Read what is known of an image without decoding it. Raises UnreadableFile if the file cannot be used."""
    with _opened(file) as image:
        (width, height), orientation = _stored_size(image), _orientation(image)
        turn = None if image.format == "TIFF" else _UPRIGHT.get(orientation)  # Pillow rotates TIFF files during decoding
        size = (height, width) if orientation in _TURNED else (width, height)
        return Header(size, _has_alpha(image), _is_deep(image), turn)


def check_mask(file: Path) -> None:
    """Open the mask file of an image without decoding it. Raises UnreadableFile if it cannot be used."""
    mask = mask_path(file)
    shape = _size_in_header(file)
    with _naming_mask(mask):
        size = _size_in_header(mask)
    if not has_same_shape(size, shape):  # the image may be a rotated PNG with its EXIF data after the pixels
        _check_shape(mask, measure_image(mask)[0], measure_image(file)[0])


def read_pixels(file: Path, size: Size, resize_mode: str = "crop", mask: str = "", crop: Crop | None = None) -> Pixels:
    """Decode an image, apply its EXIF orientation, crop and resize it. Transparent areas become white.

    Args:
        file: The image.
        size: Width and height of the result in pixels.
        resize_mode: "crop" scales the image to cover the size and crops its centre; "resize" distorts it.
        mask: "alpha" for the transparency, "file" for the mask file, "" for none.
        crop: The part of the upright image and of its mask that is used; None for all of it.

    Raises:
        UnreadableFile: The file or its mask cannot be used.
    """
    whole = _size_before_crop(size, crop)
    with _opened(file, decoded=True) as opened:
        stored = _stored_size(opened)
        upright = _upright(opened, whole, alpha=mask == "alpha" and _has_alpha(opened))
    shape = upright.shape(stored)
    shown = _read_mask(mask_path(file), shape, whole) if mask == "file" else upright.alpha
    colour = _resize(upright.colour, _part(upright.colour, crop, shape), size, resize_mode, Image.Resampling.LANCZOS)
    if shown is not None:
        shown = _resize(shown, _part(shown, crop, shape), size, resize_mode, Image.Resampling.BILINEAR)
    return Pixels(
        torch.from_numpy(np.asarray(colour).copy()).permute(2, 0, 1).float() / 127.5 - 1,
        None if shown is None else torch.from_numpy(np.asarray(shown).copy()).float() / 255,
    )


def read_image(file: Path, side: int, crop: Crop | None = None) -> Image.Image:
    """Decode an image to RGB in its EXIF orientation. Transparent areas become white.

    Args:
        file: The image.
        side: Largest width and height of the result in pixels; a larger image is reduced.
        crop: The part of the upright image that is returned; None for all of it.

    Raises:
        UnreadableFile: The file cannot be used.
    """
    with _opened(file, decoded=True) as opened:
        stored = _stored_size(opened)
        upright = _upright(opened, _size_before_crop((side, side), crop))
    part = _part(upright.colour, crop, upright.shape(stored))
    colour = upright.colour if part is None else upright.colour.crop(_outer(part))
    colour.thumbnail((side, side), Image.Resampling.LANCZOS)
    return colour


def mask_path(image: Path) -> Path:
    """Return the path of an image's mask, whether or not it exists: a PNG file, or a file with the suffix of the image."""
    usual = image.with_name(image.stem + MASK_SUFFIX)
    other = usual.with_suffix(image.suffix)
    return other if other != usual and not os.path.lexists(usual) and os.path.lexists(other) else usual


@dataclass(frozen=True)
class _Upright:
    """A decoded image in its EXIF orientation.

    Attributes:
        colour: RGB.
        alpha: Transparency, 8 bits; None if it was not requested.
        turned: Whether width and height are swapped.
    """

    colour: Image.Image
    alpha: Image.Image | None
    turned: bool

    def shape(self, stored: Size) -> Size:
        """Return a stored size in the EXIF orientation."""
        return (stored[1], stored[0]) if self.turned else stored


def _upright(image: Image.Image, size: Size, *, alpha: bool = False, ground: int = 255) -> _Upright:
    """Decode an image in its EXIF orientation. A large image is decoded in strips and reduced by a whole factor if possible.

    Args:
        image: The opened image.
        size: Width and height that it will be resized to.
        alpha: Whether to return its transparency.
        ground: Grey level of transparent areas.
    """
    side = round(_GAP * max(size))
    large = image.width * image.height > _LARGE
    depth, orientation = _depth(image), _orientation(image)
    if large:
        image.draft("RGB", (side, side))  # a JPEG is decoded at a fraction of its size
    image.load()
    factor = max(1, min(image.size) // side) if large else 1
    rows = max(1, _STRIP // (image.width * factor)) * factor if large else image.height
    smaller = (-(-image.width // factor), -(-image.height // factor))
    colour = Image.new("RGB", smaller)
    shown = Image.new("L", smaller) if alpha else None
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        colour.paste(_rgb(strip, depth, ground).reduce(factor), (0, top // factor))
        if shown is not None:
            shown.paste(strip.convert("RGBA").getchannel("A").reduce(factor), (0, top // factor))
    turn = None if image.format == "TIFF" else _UPRIGHT.get(orientation)  # Pillow rotates TIFF files during decoding
    if turn is not None:
        colour, shown = colour.transpose(turn), None if shown is None else shown.transpose(turn)
    return _Upright(colour, shown, orientation in _TURNED)


def _read_mask(file: Path, shape: Size, size: Size) -> Image.Image:
    """Read a mask, 8 bits, with black for transparent areas.

    Args:
        file: The mask.
        shape: Size of the image.
        size: Size of the result.
    """
    with _naming_mask(file), _opened(file, decoded=True) as opened:
        stored = _stored_size(opened)
        upright = _upright(opened, size, ground=0)
    _check_shape(file, upright.shape(stored), shape)
    return upright.colour.convert("L")


@contextmanager
def _naming_mask(file: Path) -> Generator[None, None, None]:
    try:
        yield
    except UnreadableFile as error:
        raise UnreadableFile(
            msg('Its mask "{file}" cannot be used: {problem}', file=displayable(file.name), problem=error.message), error.hint
        ) from error


def _check_shape(mask: Path, size: Size, shape: Size) -> None:
    if not has_same_shape(size, shape):
        raise UnreadableFile(
            msg(
                'Its mask "{mask}" has a different aspect ratio: {mask_width} × {mask_height} pixels; the image has '
                "{width} × {height}.",
                mask=displayable(mask.name),
                mask_width=size[0],
                mask_height=size[1],
                width=shape[0],
                height=shape[1],
            )
        )


def has_same_shape(size: Size, shape: Size) -> bool:
    """Whether two images have the same aspect ratio, up to the rounding of their sizes."""
    return abs(math.log(size[0] * shape[1] / (size[1] * shape[0]))) <= _MASK_SHAPE


def _size_in_header(file: Path) -> Size:
    """Measure an image, ignoring EXIF data after the pixels of a PNG, which Pillow would decode first."""
    with _opened(file) as image:
        width, height = _stored_size(image)
        orientation = 1 if image.format == "PNG" and "exif" not in image.info else _orientation(image)
        return (height, width) if orientation in _TURNED else (width, height)


@contextmanager
def _opened(file: Path, *, decoded: bool = False) -> Generator[Image.Image, None, None]:
    """Open an image. Any error inside the context becomes an UnreadableFile with the reason.

    Args:
        file: The image.
        decoded: Whether its pixels are needed.
    """
    try:
        with open_regular_file(file) as stream, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns about sizes, which are checked here, and about unusual palettes
            kind = _kind_of(stream, file.suffix)
            with _opened_as(kind, stream, decoded) as image:
                _check_size(image.size, kind)
                _depth(image)
                yield image
    except UnreadableFile:
        raise
    except NotDecoded as error:
        raise UnreadableFile(msg("It cannot be decoded: {reason}.", reason=error.reason)) from error
    except Image.DecompressionBombError as error:
        raise UnreadableFile(msg("It has too many pixels."), _RESIZE) from error
    except FileNotFoundError as error:
        raise UnreadableFile(msg("It is no longer there.")) from error
    except Exception as error:  # a damaged image can raise nearly any error
        if isinstance(error, OSError) and error.errno:
            raise UnreadableFile(msg("It cannot be read: {reason}.", reason=error.strerror or error)) from error
        reason = displayable(str(error))[:200] or type(error).__name__
        raise UnreadableFile(msg("It is damaged: {reason}", reason=reason)) from error


def _kind_of(stream: BinaryIO, suffix: str) -> str:
    """Identify the format of a file by its first bytes. Raises UnreadableFile if it is not supported."""
    head = stream.read(_HEADER)
    stream.seek(0)
    if not head:
        raise UnreadableFile(msg("It is empty."))
    kind = kind_of(head[:HEAD], suffix)
    if not kind:
        impostor = describe_impostor(head)
        raise UnreadableFile(msg("It {problem}.", problem=impostor) if impostor else msg("It is not an image."))
    if kind == "WEBP":
        _check_size(webp.size_of(head), kind)
    if not is_readable(kind):
        named = suffix if SUFFIXES.get(suffix.lower()) == kind else KINDS[kind].suffixes[0]
        raise UnreadableFile(msg("The installed version of Pillow cannot read {suffix} images.", suffix=named))
    return kind


@contextmanager
def _opened_as(kind: str, stream: BinaryIO, decoded: bool) -> Generator[Image.Image, None, None]:
    isolated = kind == "ICO" or (kind == "WEBP" and decoded and not webp_is_safe())
    if isolated:
        yield decode_image(stream.read(), kind, TRAINING_ISOLATED[kind])
        return
    try:
        opened = Image.open(stream, formats=(kind,))
    except UnidentifiedImageError as error:
        raise _unreadable_variant(stream, kind) from error
    with opened as image:
        yield image


def _unreadable_variant(stream: BinaryIO, kind: str) -> UnreadableFile:
    """Make the error for a file that has the signature of its format but that Pillow cannot read."""
    if kind == "TIFF":
        stream.seek(0)
        tags = TiffImagePlugin.ImageFileDirectory_v2(stream.read(8))
        stream.seek(tags.next)
        tags.load(stream)
        bits = tags.get(_BITS, ())
        if any(count not in (1, 2, 4, 8, 16) for count in bits):
            return UnreadableFile(
                msg("Pillow cannot read TIFF files with {bits} bits per channel.", bits=max(bits)), _SAVE_WITH_16_BITS
            )
    return UnreadableFile(
        msg("It is damaged, or a variant of {kind} that Pillow cannot read.", kind=kind), msg("Save it again, preferably as PNG.")
    )


def _check_size(size: Size, kind: str) -> None:
    most = TRAINING_PIXELS[kind]
    if size[0] * size[1] > most:
        raise UnreadableFile(
            msg(
                "It has too many pixels: {width} × {height}; the limit is {most:.0f} million.",
                width=size[0],
                height=size[1],
                most=most / 1e6,
            ),
            _RESIZE,
        )


def _stored_size(image: Image.Image) -> Size:
    """Return width and height before rotation. For TIFF files, some releases of Pillow swap them already."""
    tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    return (int(tags[_WIDTH]), int(tags[_HEIGHT])) if _WIDTH in tags and _HEIGHT in tags else (image.width, image.height)


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation; 1 if there is none. Call it before a TIFF file is decoded."""
    tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else image.getexif()
    return int(tags.get(_ORIENTATION, 1))


@dataclass(frozen=True)
class _Depth:
    """Range of pixel values with more than 8 bits.

    Attributes:
        most: Value of white, or of black if `inverted`.
        inverted: Whether 0 is white.
    """

    most: int = 65535
    inverted: bool = False


def _depth(image: Image.Image) -> _Depth:
    """Return the range of an image's pixel values. Raises UnreadableFile if the value of white is unknown."""
    if image.mode == "F":
        raise UnreadableFile(msg("Its pixels are floating-point numbers."), _SAVE_WITH_16_BITS)
    if not isinstance(image, TiffImagePlugin.TiffImageFile) or not _is_deep(image):
        return _Depth()
    bits, numbers = int(image.tag_v2.get(_BITS, (16,))[0]), image.tag_v2.get(_NUMBERS, (1,))[0]
    if bits > 16 or numbers != 1:
        raise UnreadableFile(msg("Its pixels are signed numbers, or have 32 bits."), _SAVE_WITH_16_BITS)
    return _Depth(2**bits - 1, inverted=image.tag_v2.get(_MEANING) == 0)


def _is_deep(image: Image.Image) -> bool:
    return image.mode == "I" or image.mode.startswith("I;16")


def _size_before_crop(size: Size, crop: Crop | None) -> Size:
    """Return the size of a whole image whose crop has a size, for the factor by which a large image may be reduced."""
    return size if crop is None else (math.ceil(size[0] / crop.width), math.ceil(size[1] / crop.height))


def _part(image: Image.Image, crop: Crop | None, shape: Size) -> _Box | None:
    """Return the sides of a crop in an image; None for all of it.

    Args:
        image: The upright image, which may have been reduced, or its mask, which may be smaller.
        crop: The crop.
        shape: The full size of the upright image, to whose pixels the crop is rounded.
    """
    if crop is None:
        return None
    left, top, right, bottom = crop.box(shape)
    across, down = image.width / shape[0], image.height / shape[1]
    return round(left * across, 6), round(top * down, 6), round(right * across, 6), round(bottom * down, 6)


def _outer(part: _Box) -> tuple[int, int, int, int]:
    """Return the smallest rectangle of whole pixels around a part of an image."""
    return math.floor(part[0]), math.floor(part[1]), math.ceil(part[2]), math.ceil(part[3])


def _resize(image: Image.Image, part: _Box | None, size: Size, resize_mode: str, resampling: Image.Resampling) -> Image.Image:
    """Resize an image, or a part of it as if the rest did not exist."""
    if part is not None:
        outer = _outer(part)
        image = image.crop(outer)
        inner = (part[0] - outer[0], part[1] - outer[1], part[2] - outer[0], part[3] - outer[1])
        if inner != (0, 0, *image.size):  # not whole pixels: a reduced image, or a smaller mask
            fitted = _fitted(inner, size) if resize_mode == "crop" else inner
            return image.resize(size, resampling, box=fitted)
    return ImageOps.fit(image, size, resampling) if resize_mode == "crop" else image.resize(size, resampling)


def _fitted(box: _Box, size: Size) -> _Box:
    """Return the largest box with the shape of a size in the centre of a box."""
    left, top, right, bottom = box
    scale = min((right - left) / size[0], (bottom - top) / size[1])
    across, down = (right - left - scale * size[0]) / 2, (bottom - top - scale * size[1]) / 2
    return left + across, top + down, right - across, bottom - down


def _has_alpha(image: Image.Image) -> bool:
    """Check for transparency. The transparent colour of a 16-bit image is ignored: Pillow cannot convert it to alpha."""
    marked = "transparency" in image.info and not image.mode.startswith("I")
    return marked or image.mode in ("RGBA", "LA", "PA", "RGBa", "La")


def _rgb(image: Image.Image, depth: _Depth, ground: int) -> Image.Image:
    """Convert to 8-bit RGB. Transparent areas become the grey level `ground`: white in images, black in masks."""
    if _is_deep(image):  # Pillow's own conversion would clip at 255
        values = np.asarray(image).clip(0, depth.most) * (255 / depth.most)
        shades: NDArray[np.uint8] = values.round().astype(np.uint8)
        return Image.fromarray(255 - shades if depth.inverted else shades).convert("RGB")
    if _has_alpha(image):
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, (ground, ground, ground, 255)), rgba).convert("RGB")
    return image.convert("RGB")
