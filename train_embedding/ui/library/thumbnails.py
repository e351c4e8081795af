"""Thumbnails for the cards, as data URLs so that no host has to serve files; each is made once."""

from __future__ import annotations

import base64
import logging
from functools import lru_cache
from io import BytesIO
from pathlib import Path

from train_embedding.errors import UnreadableFile
from train_embedding.services import sidecars

logger = logging.getLogger(__name__)

SIDE = 96
"Longest side in pixels, on a card."
PORTRAIT = 384
"Longest side in pixels, beside the details of one embedding."
KEPT = 6000
"Number of thumbnails kept in memory, of about 3 kB each."


def stamp(file: Path | None) -> int:
    """Return a cache key: the file's modification time in ns, or 0 if there is no file."""
    try:
        return file.stat().st_mtime_ns if file is not None else 0
    except OSError:
        return 0


def address(file: Path) -> str:
    """Return a thumbnail as a data URL; empty if the file is gone, or cannot be shown, as the log then explains."""
    when = stamp(file)
    return _kept(file, when) if when else ""  # the page may still have the card of a deleted file


def portrait(file: Path) -> str:
    """Return a larger image as a data URL, made at each call."""
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
    image = sidecars.decode_preview(sidecars.read_preview(file), side)
    data = BytesIO()
    image.convert("RGB").save(data, "JPEG", quality=80)
    return data.getvalue()
