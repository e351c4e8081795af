"""Small pictures for the cards, as data addresses, so that no host has to serve files; each is made once."""

from __future__ import annotations

import base64
import logging
from functools import lru_cache
from io import BytesIO
from pathlib import Path

from train_embedding.errors import UnreadableFile
from train_embedding.services.sidecars import decode_preview, read_preview

logger = logging.getLogger(__name__)

SIDE = 96
"Longest side in pixels, on a card."
PORTRAIT = 384
"The same, beside the details of one embedding."
KEPT = 6000
"How many stay in memory, of about 3 kB each."


def stamp(file: Path | None) -> int:
    """Tells one state of a file from another; 0 where there is none."""
    try:
        return file.stat().st_mtime_ns if file is not None else 0
    except OSError:
        return 0


def address(file: Path) -> str:
    """A data address of the picture made small; empty where the file is gone, or cannot be shown, which the log then explains."""
    when = stamp(file)
    return _kept(file, when) if when else ""  # a page may ask for what has been deleted since it was drawn


def portrait(file: Path) -> str:
    """As `address`, larger, and made anew each time."""
    return _address(file, PORTRAIT) if stamp(file) else ""


@lru_cache(maxsize=KEPT)
def _kept(file: Path, _stamp: int) -> str:
    return _address(file, SIDE)


def _address(file: Path, side: int) -> str:
    try:
        return "data:image/jpeg;base64," + base64.b64encode(_small(file, side)).decode("ascii")
    except (OSError, UnreadableFile) as problem:
        logger.warning("The preview %s cannot be shown: %s", file, problem)
        return ""


def _small(file: Path, side: int) -> bytes:
    image = decode_preview(read_preview(file), side)
    data = BytesIO()
    image.convert("RGB").save(data, "JPEG", quality=80)
    return data.getvalue()
