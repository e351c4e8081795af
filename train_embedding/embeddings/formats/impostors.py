"""Detection of downloads that went wrong: Git LFS pointers, web pages and error messages saved instead of a file."""

from __future__ import annotations

import json
from typing import cast

from train_embedding.messages import NOTHING, Message, msg

_LFS = (b"version https://git-lfs.github.com/spec/", b"version https://hawser.github.com/spec/")
_PAGES = (b"<!doctype html", b"<html", b"<head", b"<body", b"<script")
_HEAD = 4096
"Bytes at the beginning of a file that are searched."
_MAX_ERROR = 64 * 2**10
"Bytes of a server's error message."


def describe_impostor(data: bytes) -> Message:
    """Describe a file that was saved instead of the real one.

    Args:
        data: The content of the file, or its first few kilobytes.

    Returns:
        The rest of a sentence that begins with the name of the file: what it is and what to do, without a period. Nothing for
        other files.
    """
    start = data[:_HEAD].removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith(_LFS):
        return msg('is a Git LFS pointer instead of the file; run "git lfs pull" in its repository, or download the file again')
    lower = start.lower()
    if lower.startswith(_PAGES) or (lower.startswith((b"<?xml", b"<!--")) and b"<html" in lower):
        return msg("is a web page instead of the file; download it again with the page's download button")
    if start.startswith(b"{") and len(data) <= _MAX_ERROR and _is_error(data):
        return msg("is a server's error message instead of the file; sign in there if needed, and download it again")
    return NOTHING


def _is_error(data: bytes) -> bool:
    try:
        answer: object = json.loads(data)
    except (ValueError, RecursionError):
        return False
    return isinstance(answer, dict) and any(key in cast("dict[str, object]", answer) for key in ("error", "message", "detail"))
