"""Finds what an image is about: a face, or else the most salient part."""

# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
# The annotations of NumPy are incomplete.

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from train_embedding.engine.data.crops import Crop, checked_crop
from train_embedding.messages import NOTHING, Message, msg

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

SIDE = 512
"Longest side in pixels of the image that is examined."
_CASCADE = "haarcascade_frontalface_default.xml"
_STEP, _NEIGHBOURS = 1.1, 6
"Ratio of the sizes that the face detector tries, and how many of its windows must agree."
_SMALLEST = 1 / 12
"Smallest face, as a part of the shorter side."
_MAP, _AVERAGED, _BLUR = 64, 3, 2.5
"Spectral residual: size of the map, side of the mean filter, and standard deviation of the final blur, in its pixels."
_SALIENT = 0.9
"Quantile of the map above which a position is salient."

_detecting = threading.Lock()
Faces = Callable[["NDArray[np.uint8]"], "list[tuple[float, float, float, float]]"]
"Returns left, top, width and height of the faces in a grey image."


@dataclass(frozen=True)
class Focus:
    """What an image is about, as fractions of its width and height."""

    x: float
    y: float
    kind: Literal["face", "salient"]


def faces_problem() -> Message:
    """Say why no faces can be found; empty if they can."""
    found = _face_finder()
    return NOTHING if callable(found) else found


def find_focus(image: Image.Image) -> Focus:
    """Return the centre of the largest face in an RGB image, or else that of its most salient part."""
    import numpy as np

    grey: NDArray[np.uint8] = np.asarray(image.convert("L"))
    finder = _face_finder()
    faces = finder(grey) if callable(finder) else []
    if faces:
        left, top, width, height = max(faces, key=lambda face: face[2] * face[3])
        return Focus((left + width / 2) / image.width, (top + height / 2) / image.height, "face")
    return Focus(*_salient_point(image), "salient")


def crop_around(focus: Focus, size: tuple[int, int], target: tuple[int, int], crop: Crop | None = None) -> Crop:
    """Return a crop whose centre is as near to the focus as the image allows.

    Args:
        focus: In the whole image.
        size: Of the image.
        target: Its bucket, whose shape the crop gets: the largest crop of this shape.
        crop: The present crop, whose size is kept; None without one.
    """
    if crop is None:
        scale = min(size[0] / target[0], size[1] / target[1])
        width, height = scale * target[0] / size[0], scale * target[1] / size[1]
    else:
        width, height = crop.width, crop.height
    left = min(max(0.0, focus.x - width / 2), 1 - width)
    top = min(max(0.0, focus.y - height / 2), 1 - height)
    return checked_crop(max(0.0, left), max(0.0, top), min(1.0, width), min(1.0, height))


def saliency(image: Image.Image) -> NDArray[np.float64]:
    """Return how much each position stands out, [64, 64].

    Source: Hou and Zhang, "Saliency Detection: A Spectral Residual Approach", CVPR 2007, equations 3 to 5.
    """
    import numpy as np
    from PIL import Image

    grey = np.asarray(image.convert("L").resize((_MAP, _MAP), Image.Resampling.BOX), dtype=np.float64)
    spectrum = np.fft.fft2(grey)
    amplitude = np.log(np.abs(spectrum) + 1e-9)
    residual = amplitude - _averaged(amplitude)
    found = np.abs(np.fft.ifft2(np.exp(residual + 1j * np.angle(spectrum)))) ** 2
    frequencies = np.fft.fftfreq(_MAP)
    gaussian = np.exp(-2 * (np.pi * _BLUR * frequencies) ** 2)
    return np.fft.ifft2(np.fft.fft2(found) * np.outer(gaussian, gaussian)).real


def _salient_point(image: Image.Image) -> tuple[float, float]:
    """Return the centre of gravity of the most salient positions, as fractions; the middle of an image without contrast."""
    import numpy as np

    grey = np.asarray(image.convert("L"))
    if int(grey.max()) - int(grey.min()) < 2:
        return 0.5, 0.5
    found = saliency(image)
    weights = np.where(found >= np.quantile(found, _SALIENT), found, 0.0)
    total = float(weights.sum())
    if not total > 0:
        return 0.5, 0.5
    places = (np.arange(_MAP) + 0.5) / _MAP
    return float((weights.sum(0) * places).sum()) / total, float((weights.sum(1) * places).sum()) / total


def _averaged(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of the 3 × 3 values around each; the spectrum is periodic."""
    import numpy as np

    reach = range(-(_AVERAGED // 2), _AVERAGED // 2 + 1)
    return sum((np.roll(values, (down, across), (0, 1)) for down in reach for across in reach), np.zeros_like(values)) / (
        _AVERAGED**2
    )


@lru_cache(maxsize=1)
def _face_finder() -> Faces | Message:
    """Return what finds faces with OpenCV's own cascade, or why there is nothing that does."""
    try:
        library: Any = importlib.import_module("cv2")  # optional: the WebUI has it
    except ModuleNotFoundError:
        return msg("Faces are not found, because OpenCV (opencv-python) is not installed.")
    except ImportError as error:  # a missing library of the system, or a build for another NumPy
        return msg("Faces are not found, because OpenCV cannot be loaded: {reason}", reason=error)
    if not hasattr(library, "CascadeClassifier"):
        return msg("Faces are not found, because this version of OpenCV has no face detector.")
    file = os.path.join(library.data.haarcascades, _CASCADE)  # noqa: PTH118 - OpenCV takes a text
    try:
        cascade = library.CascadeClassifier(file)
        empty = cascade.empty()
    except library.error as error:
        return msg("Faces are not found, because OpenCV cannot be loaded: {reason}", reason=error)
    if empty:
        return msg("Faces are not found, because this version of OpenCV has no face detector.")

    def find(grey: NDArray[np.uint8]) -> list[tuple[float, float, float, float]]:
        least = max(16, round(min(grey.shape) * _SMALLEST))
        with _detecting:  # OpenCV's detectors may not be used by two threads
            found = cascade.detectMultiScale(grey, _STEP, _NEIGHBOURS, minSize=(least, least))
        return [(float(left), float(top), float(width), float(height)) for left, top, width, height in found]

    return find
