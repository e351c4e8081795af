"""A process of its own that decodes images, one after another: a line of JSON and a file in, a line of JSON and pixels out.

The system holds each to the memory and the time that its line names, where it can: this process ends when they are used up, and
the one that started it begins another. It imports nothing of the package.
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
"Seconds without work after which the process ends."

_ROWS = 64
_PLAIN = ("L", "LA", "RGB", "RGBA", "CMYK")
"Modes whose bytes are all there is to an image."


def main() -> int:
    source, target = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # what a library prints is no answer
    sys.path[:] = [folder for folder in sys.path if Path(folder or ".").resolve() != Path(__file__).resolve().parent]
    from PIL import Image

    Image.init()
    Image.MAX_IMAGE_PIXELS = None  # each job has a limit of its own
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
    reason = _learn(job)
    if reason:
        return {"refused": reason}, None
    _limit(base + job["memory"], job["seconds"])
    try:
        return _decoded(job, data)
    except MemoryError:
        return {"refused": "it takes more memory than is allowed", "costly": True}, None
    except Exception as error:  # noqa: BLE001 - told to the process that asked
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return {"refused": lines[0][:200].rstrip(".")}, None
    finally:
        _limit(None, 0)


def _decoded(job: dict[str, Any], data: bytes) -> tuple[dict[str, Any], Any]:
    """The first frame, in the mode that the job names, or one that keeps all; smaller where the job names a side."""
    from PIL import Image, UnidentifiedImageError

    try:
        opened = Image.open(io.BytesIO(data), formats=(job["kind"],))
    except UnidentifiedImageError:
        return {"refused": "it is no such image, or damaged"}, None
    with opened as image:
        if image.width * image.height > job["max_pixels"]:
            return {"refused": f"it has {image.width} × {image.height} pixels, which is too many", "size": image.size}, None
        if job["side"]:
            image.draft("RGB", (2 * job["side"], 2 * job["side"]))  # a JPEG is decoded at a fraction of its size
            image.thumbnail((job["side"], job["side"]))
        image.load()
        if not job["wanted"]:
            return {"size": image.size}, None
        plain = image.convert(job["mode"] or _plain_mode(image)) if image.mode != job["mode"] else image
        exif = image.info.get("exif", b"")
        answer = {"mode": plain.mode, "size": plain.size, "exif": exif.hex() if isinstance(exif, bytes) else ""}
        return answer, plain


def _plain_mode(image: Any) -> str:
    if image.mode in _PLAIN:
        return str(image.mode)
    return "RGBA" if "transparency" in image.info and image.mode in ("P", "L", "RGB") else "RGB"


def _learn(job: dict[str, Any]) -> str:
    """Loads the plugin for a kind that Pillow does not know by itself; what is missing, if something is."""
    from PIL import Image

    kind, plugin = job["kind"], job["plugin"]
    if kind not in Image.OPEN and plugin and importlib.util.find_spec(plugin):
        module = importlib.import_module(plugin)
        if job["register"]:
            getattr(module, job["register"])()
    return "" if kind in Image.OPEN else f"Pillow needs the package {plugin.replace('_', '-')}-plugin for it"


def _next_line(source: Any) -> bytes:
    try:
        import signal

        signal.alarm(IDLE)  # whose effect, unless it is taken back, is the end of the process
    except (ImportError, AttributeError):  # Windows
        return source.readline()
    line = source.readline()
    signal.alarm(0)
    return line


def _limit(memory: int | None, seconds: float) -> None:
    """Bounds what this process may hold and what of the processor it may use from now on; None and 0 for no bounds."""
    try:
        import resource
        import signal
    except ImportError:  # Windows
        return
    most = resource.getrlimit(resource.RLIMIT_DATA)[1]
    soft = most if memory is None else memory if most == resource.RLIM_INFINITY else min(memory, most)
    resource.setrlimit(resource.RLIMIT_DATA, (soft, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.setitimer(signal.ITIMER_PROF, seconds)  # whose signal ends the process


def _data_size() -> int:
    """Bytes that count towards the limit already; 0 where that is unknown."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5])
        import resource

        return pages * resource.getpagesize()
    except (OSError, ImportError, IndexError):
        return 0


if __name__ == "__main__":
    sys.exit(main())
