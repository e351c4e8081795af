"""Standard output and standard error: characters that they cannot encode, and closed pipes."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, TextIO

CLOSED_PIPE = 141
"Exit code of a program that writes to a closed pipe, as in `list | head`: 128 + SIGPIPE."


def escape_what_cannot_be_printed() -> None:
    r"""Escape characters that the streams cannot encode: with a Windows code page, 猫 is printed as \u732b.

    With "?" instead, different names would look the same. UTF-8 streams that print undecodable file names unchanged stay as
    they are.
    """
    streams: tuple[object, ...] = (sys.stdout, sys.stderr)
    for stream in streams:
        if not isinstance(stream, io.TextIOWrapper):  # None without a console, or a replacement that accepts any text
            continue
        if stream.errors == "strict" or (stream.errors == "surrogateescape" and not _is_utf8(stream)):
            stream.reconfigure(errors="backslashreplace")


def can_print(text: str) -> bool:
    """Return whether standard output can print the text without escapes."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def shown(text: str) -> str:
    """Return the text as standard output prints it, to align columns."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return text if can_print(text) else text.encode(encoding, "backslashreplace").decode(encoding)


@contextmanager
def closed_pipe_ends_quietly() -> Generator[None, None, None]:
    """Flush standard output at the end of the context, and exit quietly if its reader has closed the pipe.

    Raises:
        SystemExit: The pipe was closed; the exit code is CLOSED_PIPE.
    """
    try:
        try:
            yield
        finally:
            if sys.stdout is not None:  # None if it was closed when the process started
                sys.stdout.flush()
    except BrokenPipeError:
        if sys.stdout is not None:
            _redirect_to_null(sys.stdout)
        raise SystemExit(CLOSED_PIPE) from None


def _redirect_to_null(stream: TextIO) -> None:
    """Discard further output: Python flushes again when it exits, and would print an error."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)


def _is_utf8(stream: Any) -> bool:
    return str(getattr(stream, "encoding", None) or "utf-8").lower().replace("_", "-") in ("utf-8", "utf8")
