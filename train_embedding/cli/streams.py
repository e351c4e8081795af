"""Standard output and standard error: what their encoding lacks is escaped, and a pipe that was closed ends a verb quietly."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, TextIO

CLOSED_PIPE = 141
"What shells report for a program that wrote into a closed pipe, as in `list | head`: 128 + SIGPIPE."


def escape_what_cannot_be_printed() -> None:
    r"""Makes prints of text that the streams cannot encode succeed: a Windows code page prints 猫 as \u732b.

    Replacing every such character by "?" would make names look alike. UTF-8 streams that carry undecodable file names as they
    are keep doing so.
    """
    streams: tuple[object, ...] = (sys.stdout, sys.stderr)
    for stream in streams:
        if not isinstance(stream, io.TextIOWrapper):  # None without a console, or a stand-in that takes any text
            continue
        if stream.errors == "strict" or (stream.errors == "surrogateescape" and not _is_utf8(stream)):
            stream.reconfigure(errors="backslashreplace")


def can_print(text: str) -> bool:
    """Whether standard output can show the text as it is."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def shown(text: str) -> str:
    """The text as standard output shows it, for columns that are to be aligned."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return text if can_print(text) else text.encode(encoding, "backslashreplace").decode(encoding)


@contextmanager
def closed_pipe_ends_quietly() -> Generator[None, None, None]:
    """Within the context, what was printed is written out at the end, and a reader that went away ends the program at once.

    Raises SystemExit with CLOSED_PIPE.
    """
    try:
        try:
            yield
        finally:
            if sys.stdout is not None:  # as it is where it was closed from the start
                sys.stdout.flush()
    except BrokenPipeError:
        if sys.stdout is not None:
            _leave_for_nowhere(sys.stdout)
        raise SystemExit(CLOSED_PIPE) from None


def _leave_for_nowhere(stream: TextIO) -> None:
    """Python flushes once more when it exits, and would complain."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _is_utf8(stream: Any) -> bool:
    return str(getattr(stream, "encoding", None) or "utf-8").lower().replace("_", "-") in ("utf-8", "utf8")
