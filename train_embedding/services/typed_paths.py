"""Paths as people type and paste them, on the command line, in the tab and in the API."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’", "«": "»"}
_INVISIBLE = "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\ufeff"
"Invisible characters: what Windows puts before a path that is copied from the properties of a file, and byte order marks."


def typed_path(text: str) -> Path:
    """Convert typed text to a path without accessing the disk.

    Quotes and spaces around it are removed ("Copy as path" on Windows adds quotes), "~" becomes the home folder, and file:// URLs
    are converted.
    """
    path = Path(typed_text(text))
    try:
        return path.expanduser()
    except RuntimeError:  # a user that does not exist, or has no home
        return path


def typed_text(text: str) -> str:
    """Return the text of the path as `typed_path` reads it, with "~"; empty if there is none."""
    cleaned = text.strip().strip(_INVISIBLE).strip()
    while len(cleaned) > 1 and _QUOTES.get(cleaned[0]) == cleaned[-1]:
        cleaned = cleaned[1:-1].strip().strip(_INVISIBLE).strip()
    return _from_url(cleaned) if cleaned[:7].lower() == "file://" else cleaned


def _from_url(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:  # brackets in place of a host name
        return url
    path = url2pathname(parts.path)
    return path if parts.netloc in ("", "localhost") else f"//{parts.netloc}{path}"
