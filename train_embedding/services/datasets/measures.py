"""What only the pixels of a training image show: its sharpness, fingerprints that find duplicates, and a thumbnail."""

# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
# The annotations of NumPy are incomplete.

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from train_embedding.embeddings.regular_files import read_regular_file
from train_embedding.errors import UnreadableFile, cannot_read
from train_embedding.messages import NOTHING, Message, msg

if TYPE_CHECKING:
    from PIL import Image

    from train_embedding.engine.data.crops import Crop
    from train_embedding.engine.data.image import Header

MEASURED_SIDE = 512
"Longest side in pixels of the image whose sharpness is measured. Smaller images are not enlarged."
MOST_DECODED = 4096
"Longest side in pixels of an image of which a small crop is measured."
THUMBNAIL_SIDE = 256
"Longest side in pixels of a thumbnail."
BLURRED = 40.0
"""Images with a variance of the Laplacian below it are reported as blurred, unless they have little contrast. At `MEASURED_SIDE`,
seven photographs that come with gradio and matplotlib have 165 to 3,418, and at most 14 after a Gaussian blur of 2 pixels."""
BLURRED_SHARE = 0.05
"""Images in which the same variance is a larger share of the variance of the grey image only lack contrast. It is 0.28 and more
for the demo's drawings below `BLURRED`, and at most 0.021 for the blurred photographs."""
NEAR_BITS = 10
"""Largest number of different bits among 64 between near duplicates. The same photograph at half the size, saved as JPEG with
quality 30 or made brighter by a tenth differs in at most 6 bits, different ones in at least 12."""
NEAR_COLOUR = 16.0
"""Largest mean difference between the colours of near duplicates at 16 × 16 pixels, of 255: up to 13 for the changes above to
photographs, at least 18 between different ones."""
_HASH_SIZE = (9, 8)
_COLOURS = 16


@dataclass(frozen=True)
class Measures:
    """What the pixels of an image show.

    Attributes:
        problem: Why it cannot be decoded; then nothing else is known.
        sharpness: Variance of the Laplacian of the grey image.
        contrast: Variance of the grey image.
        digest: SHA-256 of the file and of the crop.
        bits: The difference hash, 8 bytes.
        colours: The image at 16 × 16 pixels in RGB, 768 bytes.
        thumbnail: A JPEG file of the cropped image, upright and on white.
        mask: A JPEG file of its mask in the same size; empty without one.
    """

    problem: Message = NOTHING
    sharpness: float = 0.0
    contrast: float = 0.0
    digest: bytes = b""
    bits: bytes = b""
    colours: bytes = b""
    thumbnail: bytes = b""
    mask: bytes = b""

    @property
    def is_blurred(self) -> bool:
        """Whether the image looks blurred. An image of a single colour does not."""
        return bool(self.digest) and self.sharpness < BLURRED and self.sharpness < BLURRED_SHARE * self.contrast


def measure(file: Path, header: Header, mask: Path | None = None, crop: Crop | None = None) -> Measures:
    """Decode an image in a separate process and measure it.

    Args:
        file: The image.
        header: Its header.
        mask: Its mask file, if there is one. Without it, the mask of an image with transparency is its transparency.
        crop: The part that is measured; None for all of it.
    """
    from PIL import Image

    side = _side_before_crop(MEASURED_SIDE, crop, header.size)
    try:
        data = _read(file)
        upright = _upright(data, file, header, side)
    except UnreadableFile as error:
        return Measures(error.message)
    shown = _mask_of(mask, upright, side)
    opaque = _cropped(on_white(upright), crop)
    if shown is not None:
        shown = _cropped(shown, crop)
    digest = hashlib.sha256(data)
    if crop is not None:
        digest.update(repr(crop.rectangle(header.size)).encode())
    return Measures(
        sharpness=sharpness(opaque),
        contrast=contrast(opaque),
        digest=digest.digest(),
        bits=difference_hash(opaque),
        colours=opaque.resize((_COLOURS, _COLOURS), Image.Resampling.LANCZOS).tobytes(),
        thumbnail=_thumbnail(opaque),
        mask=b"" if shown is None else _thumbnail(shown),
    )


def picture(file: Path, header: Header, crop: Crop | None = None, side: int = MEASURED_SIDE) -> bytes:
    """Decode an image in a separate process, and return it upright and on white as a JPEG file.

    Args:
        file: The image.
        header: Its header.
        crop: The part that is shown; None for all of it.
        side: Its largest width and height in pixels.

    Raises:
        UnreadableFile: It cannot be decoded.
    """
    return as_jpeg(decoded_image(file, header, crop, side), quality=85)


def decoded_image(file: Path, header: Header, crop: Crop | None = None, side: int = MEASURED_SIDE) -> Image.Image:
    """Decode an image in a separate process like `picture`, to RGB. Raises UnreadableFile."""
    small = _cropped(on_white(_upright(_read(file), file, header, _side_before_crop(side, crop, header.size))), crop)
    small.thumbnail((side, side))
    return small


def mask_image(mask: Path, side: int) -> Image.Image:
    """Decode a mask file in a separate process to a grey image, black where it is transparent, as it is used for training.

    Args:
        mask: The file.
        side: The largest width and height of the result in pixels.

    Raises:
        UnreadableFile: It cannot be decoded.
    """
    from PIL import Image

    from train_embedding.engine.data.image import read_header

    found = _upright(_read(mask), mask, read_header(mask), side)
    if found.mode == "RGBA":
        found = Image.alpha_composite(Image.new("RGBA", found.size, "black"), found)
    return found.convert("L")


def alpha_of(file: Path, header: Header, side: int) -> Image.Image | None:
    """Decode the transparency of an image in a separate process to a grey image; None without one. Raises UnreadableFile."""
    if not header.has_alpha:
        return None
    found = _upright(_read(file), file, header, side)
    return found.getchannel("A") if found.mode == "RGBA" else None


def on_white(image: Image.Image) -> Image.Image:
    """Return an image in RGB, with white for transparent areas."""
    from PIL import Image

    if image.mode != "RGBA":
        return image.convert("RGB")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def as_jpeg(image: Image.Image, quality: int = 80) -> bytes:
    """Return an image as a JPEG file."""
    data = BytesIO()
    image.save(data, "JPEG", quality=quality)
    return data.getvalue()


def sharpness(image: Image.Image) -> float:
    """Return the variance of the Laplacian of an image, a measure of focus.

    Source: Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", ICPR 2000; the variance of the response to
    [[0, 1, 0], [1, -4, 1], [0, 1, 0]].
    """
    import numpy as np

    grey = np.asarray(image.convert("L"), dtype=np.float32)
    if min(grey.shape) < 3:
        return 0.0
    inner = grey[1:-1, :-2] + grey[1:-1, 2:] + grey[:-2, 1:-1] + grey[2:, 1:-1] - 4 * grey[1:-1, 1:-1]
    return float(inner.var())


def contrast(image: Image.Image) -> float:
    """Return the variance of the grey image."""
    import numpy as np

    return float(np.asarray(image.convert("L"), dtype=np.float32).var())


def difference_hash(image: Image.Image) -> bytes:
    """Return 64 bits: whether each pixel of the image at 9 × 8 is brighter than its left neighbour.

    Source: the "dHash" of Neal Krawetz, "Kind of Like That", hackerfactor.com, 2013. The bits are those of ImageHash's `dhash`.
    """
    import numpy as np
    from PIL import Image

    small = np.asarray(image.convert("L").resize(_HASH_SIZE, Image.Resampling.LANCZOS))
    return np.packbits(small[:, 1:] > small[:, :-1]).tobytes()


def find_duplicates(measured: Mapping[str, Measures]) -> tuple[dict[str, str], dict[str, str]]:
    """Find images that occur twice.

    Args:
        measured: The measures of each image by its name, in the order of the dataset.

    Returns:
        For each image that equals an earlier one, the earlier one's name; and the same for those that only look like it.
    """
    exact: dict[str, str] = {}
    first: dict[bytes, str] = {}
    for name, found in measured.items():
        if found.digest:
            earlier = first.setdefault(found.digest, name)
            if earlier != name:
                exact[name] = earlier
    names = [name for name in measured if measured[name].digest and name not in exact]
    return exact, _near(names, measured)


def _near(names: list[str], measured: Mapping[str, Measures]) -> dict[str, str]:
    """Find the images that look like an earlier one, among some that differ."""
    import numpy as np

    if len(names) < 2:
        return {}
    bits = np.frombuffer(b"".join(measured[name].bits for name in names), np.uint8).reshape(len(names), 8)
    signs = np.unpackbits(bits, axis=1).astype(np.float32) * 2 - 1
    colours = np.frombuffer(b"".join(measured[name].colours for name in names), np.uint8).reshape(len(names), -1)
    similar: dict[str, str] = {}
    for at in range(1, len(names)):
        different = (64 - signs[:at] @ signs[at]) / 2
        for earlier in np.flatnonzero(different <= NEAR_BITS):
            distance: Any = np.abs(colours[earlier].astype(np.int16) - colours[at]).mean()
            if distance <= NEAR_COLOUR:
                similar[names[at]] = names[int(earlier)]
                break
    return similar


def _read(file: Path) -> bytes:
    from train_embedding.images.limits import THUMBNAIL_BYTES

    try:
        data = read_regular_file(file, THUMBNAIL_BYTES)
    except OSError as error:
        raise UnreadableFile(cannot_read(file.name, error)) from error
    if len(data) > THUMBNAIL_BYTES:
        raise UnreadableFile(msg("The file is larger than {limit} MB, so it is not examined.", limit=THUMBNAIL_BYTES // 2**20))
    return data


def _side_before_crop(side: int, crop: Crop | None, size: tuple[int, int]) -> int:
    """Return the longest side to which an image of a size is reduced, so that its crop has a longest side."""
    return side if crop is None else min(MOST_DECODED, math.ceil(side * max(size) / max(crop.size(size))))


def _cropped(image: Image.Image, crop: Crop | None) -> Image.Image:
    return image if crop is None else image.crop(crop.box(image.size))


def _upright(data: bytes, file: Path, header: Header, side: int) -> Image.Image:
    """Decode an image to RGB or RGBA in its EXIF orientation, reduced to a longest side. Raises UnreadableFile."""
    decoded = _decoded(data, file, side)
    return decoded if header.turn is None else decoded.transpose(header.turn)


def _decoded(data: bytes, file: Path, side: int) -> Image.Image:
    """Decode an image to RGB or RGBA, reduced to a longest side. Raises UnreadableFile."""
    from train_embedding.images.decoder import decode_image
    from train_embedding.images.errors import NotDecoded
    from train_embedding.images.kinds import HEAD, kind_of
    from train_embedding.images.limits import THUMBNAIL

    kind = kind_of(data[:HEAD], file.suffix)
    if kind not in THUMBNAIL:
        raise UnreadableFile(msg("It is not an image."))
    try:
        image = decode_image(data, kind, THUMBNAIL[kind], side=side)
    except NotDecoded as error:
        raise UnreadableFile(msg("It cannot be decoded: {reason}.", reason=error.reason)) from error
    return image.convert("RGBA" if image.mode in ("LA", "RGBA") else "RGB")


def _mask_of(mask: Path | None, image: Image.Image, side: int) -> Image.Image | None:
    """Return the mask as a grey image in the size of the image; None without one, or if it cannot be decoded."""
    if mask is None:
        return image.getchannel("A") if image.mode == "RGBA" else None
    try:
        return mask_image(mask, side).resize(image.size)
    except UnreadableFile:  # the check of the headers reports it
        return None


def _thumbnail(image: Image.Image) -> bytes:
    small = image.copy()
    small.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    return as_jpeg(small)
