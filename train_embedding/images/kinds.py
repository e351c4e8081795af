"""The kinds of image files that are read, by suffix and by signature, and what Pillow needs for each.

Pillow by itself opens whatever one of its plugins recognises, and some of these start other programs: an EPS file starts
Ghostscript, whatever it is called. So an image is opened as the kind that its first bytes say, of those below, and as no other.
"""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from functools import lru_cache

HEAD = 64
"Bytes at the beginning of a file that tell its kind."


@dataclass(frozen=True)
class Kind:
    """A kind of image file, under Pillow's name for it."""

    name: str
    suffixes: tuple[str, ...]
    plugin: str = ""
    "The package that teaches Pillow this kind, where it does not know it by itself."
    register: str = ""
    "The function to call in it, where importing it is not enough."


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
"The name of the kind that a suffix stands for."

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
"Brands that AVIF and HEIF files share."
_UNSIGNED = ("TGA", "DIB")
"Kinds that begin with nothing of their own, so that the suffix alone tells them."
_REPAIRED_WEBP = (1, 3, 2)
"The first libwebp whose lossless decoder stays within its tables (CVE-2023-4863)."


def kind_of(head: bytes, suffix: str = "") -> str:
    """Tell the kind of an image from its first bytes.

    Args:
        head: At least HEAD bytes of the file, if it has so many.
        suffix: Of its name, which decides where the bytes leave it open.

    Returns:
        One of KINDS; empty for anything else.
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
    """Whether Pillow reads this kind here, once the plugin for it was loaded, if there is one."""
    from PIL import Image

    if kind not in Image.OPEN:
        _load_plugin(kind)
    return kind in Image.OPEN


def webp_is_safe() -> bool:
    """Whether the WebP decoder that is installed keeps within its memory for every lossless file."""
    from PIL import features

    return _version(features.version("webp") or "") >= _REPAIRED_WEBP


@lru_cache(maxsize=len(KINDS))
def _load_plugin(kind: str) -> None:
    """Let Pillow load what it brings along, and then the package for this kind, if it is installed; tried once."""
    from PIL import Image

    Image.init()
    needed = KINDS[kind]
    if kind in Image.OPEN or not needed.plugin or importlib.util.find_spec(needed.plugin) is None:
        return
    module = importlib.import_module(needed.plugin)
    if needed.register:
        getattr(module, needed.register)()


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdecimal())
