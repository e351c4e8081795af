"""Files that came in place of what their name says: Git LFS pointers, web pages, and a server's error messages."""

from __future__ import annotations

import json
from typing import cast

_LFS = (b"version https://git-lfs.github.com/spec/", b"version https://hawser.github.com/spec/")
_PAGES = (b"<!doctype html", b"<html", b"<head", b"<body", b"<script")
_LOOKED_AT = 4096
_LONGEST_ANSWER = 64 * 2**10


def describe_impostor(data: bytes) -> str:
    """Say what a file is that was saved in place of another one.

    Args:
        data: The file's content, or its first few kilobytes.

    Returns:
        The end of a sentence that begins with the file's name, with what to do and without a full stop; empty for anything else.
    """
    start = data[:_LOOKED_AT].removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith(_LFS):
        return 'is a Git LFS pointer, not the file itself: run "git lfs pull" in its repository, or download the file again'
    lower = start.lower()
    if lower.startswith(_PAGES) or (lower.startswith((b"<?xml", b"<!--")) and b"<html" in lower):
        return "is a web page that was saved in place of the file: download it again with the page's download button"
    if start.startswith(b"{") and len(data) <= _LONGEST_ANSWER and _is_error(data):
        return "is a server's error message that was saved in place of the file: sign in there if needed, and download it again"
    return ""


def _is_error(data: bytes) -> bool:
    try:
        answer: object = json.loads(data)
    except (ValueError, RecursionError):
        return False
    return isinstance(answer, dict) and any(key in cast("dict[str, object]", answer) for key in ("error", "message", "detail"))
