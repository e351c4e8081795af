"""Check paths on shared servers, where only files in allowed folders may be read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from train_embedding.errors import InvalidInput, NotAllowed
from train_embedding.messages import NOTHING, joined, msg, verbatim


def resolve_allowed(path: Path, allowed: Sequence[Path] | None, *, shown: str = "") -> Path:
    """Resolve a path and check that it may be read.

    Callers do this before any other access, so that users cannot find out which files exist outside the allowed folders.

    Args:
        path: A path from a user, or one found in a user's folder. Links are followed.
        allowed: The folders that may be read, including their subfolders; None if all may be read.
        shown: The path as messages show it; by default the path itself.

    Returns:
        The absolute path without links.

    Raises:
        InvalidInput: It is not a valid path, or its links form a loop.
        NotAllowed: It is outside the allowed folders.
    """
    shown = shown or str(path)
    try:
        resolved = path.resolve()
    except (ValueError, RuntimeError, OSError) as error:
        raise InvalidInput(
            msg('"{path}" is not a valid path: {reason}.', path=repr(shown)[1:-1], reason=verbatim(str(error)))
        ) from error
    if allowed is None or any(resolved.is_relative_to(folder.resolve()) for folder in allowed):
        return resolved
    hint = msg("Allowed folders: {folders}.", folders=joined(map(str, allowed))) if allowed else NOTHING
    raise NotAllowed(msg('"{path}" is outside the folders that are allowed on this server.', path=shown), hint)
