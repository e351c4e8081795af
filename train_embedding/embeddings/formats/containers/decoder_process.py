"""A process of its own that decodes one picture: `KIND PLUGIN MAX_PIXELS`, the file on stdin, width, height and RGB on stdout.

It takes at most 256 MB and two seconds of the processor, where the system can hold it to that. It imports nothing of the package.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import sys

MEMORY = 256 * 2**20
SECONDS = 2


def main() -> int:
    kind, plugin, most = sys.argv[1], sys.argv[2], int(sys.argv[3])
    from PIL import Image, UnidentifiedImageError

    Image.init()
    if kind not in Image.OPEN and importlib.util.find_spec(plugin):
        importlib.import_module(plugin)
    if kind not in Image.OPEN:
        return _refuse(f"Pillow needs the package {plugin.replace('_', '-')}-plugin for it")
    data = sys.stdin.buffer.read()
    _limit()
    try:
        with Image.open(io.BytesIO(data), formats=(kind,)) as picture:
            width, height = picture.size
            if width * height > most:
                return _refuse(f"it has {width} × {height} pixels, which is too many")
            content = picture.convert("RGB").tobytes()
    except UnidentifiedImageError:
        return _refuse("it is no such picture, or damaged")
    except Exception as error:  # noqa: BLE001 - told to the process that asked
        return _refuse(str(error) or type(error).__name__)
    sys.stdout.buffer.write(f"{width} {height}\n".encode() + content)
    return 0


def _limit() -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _refuse(reason: str) -> int:
    print(reason.strip().rstrip("."), file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
