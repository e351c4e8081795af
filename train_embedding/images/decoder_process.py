"""Process that decodes images for `decoder.py`: it reads a line of JSON and a file, and writes a line of JSON and the pixels.

Where the operating system supports it, the process is limited to the memory and CPU time that the job names; exceeding them ends
the process, and `decoder.py` starts another one. To start fast, it imports nothing from the package.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import json
import sys
from pathlib import Path
from typing import Any

IDLE = 60
"Seconds without a job after which the process ends."

_ROWS = 64
"Rows that are written at a time."
_PLAIN = ("L", "LA", "RGB", "RGBA", "CMYK")
"Modes without a palette, whose bytes are the complete image."
_TIFF_BITS, _TIFF_MEANING = 258, 262
"Tags of TIFF files: bits per channel, and whether 0 is white (then the value is 0)."


def main() -> int:
    """Decode images until stdin ends."""
    source, target = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # libraries that print must not disturb the answers
    sys.path[:] = [folder for folder in sys.path if Path(folder or ".").resolve() != Path(__file__).resolve().parent]
    from PIL import Image

    Image.init()
    Image.MAX_IMAGE_PIXELS = None  # each job has its own limit
    base = _data_size()
    while line := _next_line(source):
        job = json.loads(line)
        answer, image = _answer(job, source.read(job["length"]), base)
        length = image.width * image.height * len(image.getbands()) if image else 0
        target.write(json.dumps({**answer, "length": length}).encode() + b"\n")
        for top in range(0, image.height if image else 0, _ROWS):  # a few rows at a time, since each is copied twice
            target.write(image.crop((0, top, image.width, min(top + _ROWS, image.height))).tobytes())
        target.flush()
        del image
    return 0


def _answer(job: dict[str, Any], data: bytes, base: int) -> tuple[dict[str, Any], Any]:
    if not _can_read(job):
        return {"refused": "plugin"}, None
    _limit(base + job["memory"], job["seconds"])
    try:
        return _decode(job, data)
    except MemoryError:
        return {"refused": "memory"}, None
    except Exception as error:  # noqa: BLE001 - reported to the parent process
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return {"refused": "error", "error": lines[0][:200].rstrip(".")}, None
    finally:
        _limit(None, 0)


def _decode(job: dict[str, Any], data: bytes) -> tuple[dict[str, Any], Any]:
    """Decode the first frame, in the mode that the job names or one that loses nothing; reduced if the job names a side."""
    from PIL import Image, UnidentifiedImageError

    try:
        opened = Image.open(io.BytesIO(data), formats=(job["kind"],))
    except UnidentifiedImageError:
        return {"refused": "damaged"}, None
    with opened as image:
        if image.width * image.height > job["max_pixels"]:
            return {"refused": "pixels", "size": image.size}, None
        if job["side"]:
            image.draft("RGB", (2 * job["side"], 2 * job["side"]))  # JPEGs are decoded at a reduced size
        image = _with_8_bits(image)
        if job["side"]:
            image.thumbnail((job["side"], job["side"]))
        image.load()
        if not job["wanted"]:
            return {"size": image.size}, None
        plain = image.convert(job["mode"] or _plain_mode(image)) if image.mode != job["mode"] else image
        exif = image.info.get("exif", b"")
        answer = {"mode": plain.mode, "size": plain.size, "exif": exif.hex() if isinstance(exif, bytes) else ""}
        return answer, plain


def _with_8_bits(image: Any) -> Any:
    """Return an image with at most 8 bits per channel. Pillow's own conversion would clip the values of a 16-bit image."""
    if image.mode != "I" and not image.mode.startswith("I;16"):
        return image
    tags = getattr(image, "tag_v2", {})
    scale = 255 / (2 ** int(tags.get(_TIFF_BITS, (16,))[0]) - 1)
    inverted = tags.get(_TIFF_MEANING) == 0

    def shade(value: Any) -> Any:
        return value * -scale + 255.5 if inverted else value * scale + 0.5

    return image.convert("I").point(shade).convert("L")


def _plain_mode(image: Any) -> str:
    """Return the simplest mode that shows the image completely."""
    if image.mode in _PLAIN:
        return str(image.mode)
    return "RGBA" if "transparency" in image.info and image.mode in ("P", "L", "RGB") else "RGB"


def _can_read(job: dict[str, Any]) -> bool:
    """Load the plugin for a kind that Pillow does not support itself; return whether the kind can be read."""
    from PIL import Image

    kind, plugin = job["kind"], job["plugin"]
    if kind not in Image.OPEN and plugin and importlib.util.find_spec(plugin):
        module = importlib.import_module(plugin)
        if job["register"]:
            getattr(module, job["register"])()
    return kind in Image.OPEN


def _next_line(source: Any) -> bytes:
    """Wait for the next job; the process ends if none comes in time."""
    try:
        import signal

        signal.alarm(IDLE)  # ends the process unless it is cancelled
    except (ImportError, AttributeError):  # Windows
        return source.readline()
    line = source.readline()
    signal.alarm(0)
    return line


def _limit(memory: int | None, seconds: float) -> None:
    """Limit the memory (bytes) and CPU time (seconds) of this process from now on; None and 0 remove the limits."""
    try:
        import resource
        import signal
    except ImportError:  # Windows
        return
    most = resource.getrlimit(resource.RLIMIT_DATA)[1]
    soft = most if memory is None else memory if most == resource.RLIM_INFINITY else min(memory, most)
    resource.setrlimit(resource.RLIMIT_DATA, (soft, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.setitimer(signal.ITIMER_PROF, seconds)  # its signal ends the process


def _data_size() -> int:
    """Return the bytes that this process uses already, and that count towards the limit; 0 if unknown."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5])
        import resource

        return pages * resource.getpagesize()
    except (OSError, ImportError, IndexError):
        return 0


if __name__ == "__main__":
    sys.exit(main())
