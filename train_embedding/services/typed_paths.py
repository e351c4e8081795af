"""Paths as people type and paste them, read in one way by the command line, the tab and the API."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’", "«": "»"}
_UNSEEN = "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\ufeff"
"Marks that Windows puts before a path that is copied from a file's properties, and byte order marks."


def typed_path(text: str) -> Path:
    """The path that a text means, without quotes and spaces around it; "~" is the home folder, and file:// URLs are understood.

    "Copy as path" on Windows gives a path in quotes. Nothing is looked up on the disk.
    """
    path = Path(typed_text(text))
    try:
        return path.expanduser()
    except RuntimeError:  # a user that does not exist, or has no home
        return path


def typed_text(text: str) -> str:
    """The text of the path, before "~" is replaced; empty where nothing is left."""
    cleaned = text.strip().strip(_UNSEEN).strip()
    while len(cleaned) > 1 and _QUOTES.get(cleaned[0]) == cleaned[-1]:
        cleaned = cleaned[1:-1].strip().strip(_UNSEEN).strip()
    return _from_url(cleaned) if cleaned[:7].lower() == "file://" else cleaned


def _from_url(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:  # brackets where an address would stand
        return url
    path = url2pathname(parts.path)
    return path if parts.netloc in ("", "localhost") else f"//{parts.netloc}{path}"
