"""Names of files in messages."""

from __future__ import annotations


def displayable(text: str) -> str:
    """Make a file name printable and valid JSON: bytes that are not UTF-8 become `\\udc..`."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
