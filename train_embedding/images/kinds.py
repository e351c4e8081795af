"""Kinds of image files that are supported, identified by signature and suffix, and the Pillow plugins that they need.

Pillow opens every kind that one of its plugins recognises, and some plugins start other programs: EPS starts Ghostscript,
whatever the file's suffix. So images are opened only as the kind below that their signature shows.
"""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from functools import lru_cache

HEAD = 64
"Bytes at the beginning of a file that are enough to identify its kind."


@dataclass(frozen=True)
class Kind:
    """A kind of image file, with Pillow's name for it."""

    name: str
    suffixes: tuple[str, ...]
    plugin: str = ""
    "The package with the Pillow plugin, for kinds that Pillow may not support itself."
    register: str = ""
    "The function that registers the plugin, if importing it is not enough."


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("PNG", (".png", ".apng")),
        Kind("JPEG", (".jpg", ".jpeg", ".jpe", ".jfif")),
        Kind("WEBP", (".webp",)),
        Kind("GIF", (".gif",)),
        Kind("BMP", (".bmp",)),
        Kind("DIB", (".dib",)),
        Kind("TIFF", (".tif", ".tiff")),
        Kind("TGA", (".tga",)),
        Kind("PPM", (".ppm", ".pgm", ".pbm", ".pnm")),
        Kind("ICO", (".ico",)),
        Kind("JPEG2000", (".jp2", ".j2k", ".jpx", ".jpf", ".jpc", ".j2c")),
        Kind("AVIF", (".avif",), "pillow_avif"),
        Kind("HEIF", (".heic", ".heif"), "pillow_heif", "register_heif_opener"),
        Kind("JXL", (".jxl",), "pillow_jxl"),
    )
}
SUFFIXES: dict[str, str] = {suffix: kind.name for kind in KINDS.values() for suffix in kind.suffixes}
"Kind by suffix."

_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"\0\0\1\0", "ICO"),
    (b"\xff\x4f\xff\x51", "JPEG2000"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG2000"),
    (b"\xff\x0a", "JXL"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JXL"),
    *((b"P%d" % number, "PPM") for number in range(1, 7)),
)
_BRANDS = {b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIF", b"heix": "HEIF", b"heim": "HEIF", b"heis": "HEIF", b"hevc": "HEIF"}
_EITHER = (b"mif1", b"msf1", b"miaf")
"Brands that both AVIF and HEIF files use."
_UNSIGNED = ("TGA", "DIB")
"Kinds without a signature, which are identified by the suffix alone."
_REPAIRED_WEBP = (1, 3, 2)
"The first libwebp version with a fix for CVE-2023-4863, a buffer overflow in the lossless decoder."


def kind_of(head: bytes, suffix: str = "") -> str:
    """Identify the kind of an image by its first bytes.

    Args:
        head: The first HEAD bytes of the file, or more.
        suffix: The suffix of the file, which decides if the bytes are ambiguous.

    Returns:
        A key of KINDS; empty if the file is nothing of these.
    """
    named = SUFFIXES.get(suffix.lower(), "")
    for signature, kind in _SIGNATURES:
        if head.startswith(signature):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12]) or ((named if named == "HEIF" else "AVIF") if head[8:12] in _EITHER else "")
    return named if named in _UNSIGNED else ""


def is_readable(kind: str) -> bool:
    """Return whether the installed Pillow and its plugins can read a kind."""
    from PIL import Image

    if kind not in Image.OPEN:
        _load_plugin(kind)
    return kind in Image.OPEN


def webp_is_safe() -> bool:
    """Return whether the installed WebP decoder has the fix for CVE-2023-4863."""
    from PIL import features

    return _version(features.version("webp") or "") >= _REPAIRED_WEBP


@lru_cache(maxsize=len(KINDS))
def _load_plugin(kind: str) -> None:
    """Load Pillow's own plugins and the package for a kind, if installed; done once per kind."""
    from PIL import Image

    Image.init()
    needed = KINDS[kind]
    if kind in Image.OPEN or not needed.plugin or importlib.util.find_spec(needed.plugin) is None:
        return
    module = importlib.import_module(needed.plugin)
    if needed.register:
        getattr(module, needed.register)()


def _version(text: str) -> tuple[int, ...]:
    """Parse the numbers of a version, such as "1.3.2"."""
    return tuple(int(part) for part in text.split(".") if part.isdecimal())
