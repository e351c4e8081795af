"""Which paths may be read: on a shared server, only those inside the folders that its owner allows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from train_embedding.errors import InvalidInput, NotAllowed


def resolve_allowed(path: Path, allowed: Sequence[Path] | None, *, shown: str = "") -> Path:
    """Resolve a path and check that it may be read.

    Nothing else is looked up before this check, so that nobody can find out which files exist outside the allowed folders.

    Args:
        path: What a person named, or what was found in a folder that a person named. Links in it are followed.
        allowed: The folders that may be read; None for all.
        shown: What messages call the path; if empty, the path itself.

    Returns:
        The path, absolute and without links.

    Raises:
        InvalidInput: It cannot be a path, or its links form a circle.
        NotAllowed: It leads outside the allowed folders.
    """
    shown = shown or str(path)
    try:
        resolved = path.resolve()
    except (ValueError, RuntimeError, OSError) as error:
        raise InvalidInput(f"{shown!r} is not a path that can be followed: {error}.") from error
    if allowed is None or any(resolved.is_relative_to(folder.resolve()) for folder in allowed):
        return resolved
    hint = f"Allowed folders: {', '.join(map(str, allowed))}." if allowed else ""
    raise NotAllowed(f'"{shown}" leads outside the folders that may be used on this server.', hint)
