"""Paths below the embeddings folder: links and folder names must not lead out of it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from train_embedding.errors import InvalidInput, InvalidName


def link_problem(path: Path, root: Path) -> str:
    """Why a path cannot be used: it is a link that leads out of `root`, a resolved folder. Empty if it can be used."""
    try:
        if not path.is_symlink() or path.resolve().is_relative_to(root):
            return ""
    except (OSError, RuntimeError) as error:
        return f'"{path.name}" is a link that cannot be followed: {error}.'
    return f'"{path.name}" is a link that leads outside the embeddings folder.'


def check_inside(path: Path, root: Path) -> None:
    """Raise InvalidName for a link that leads out of the embeddings folder, `root`."""
    problem = link_problem(path, root.resolve())
    if problem:
        raise InvalidName(problem, "Choose another name, or remove the link.")


def resolve_folder(folder: Path, root: Path) -> Path:
    """Return a folder below `root` with links resolved, spelled as lists spell it. Raises InvalidInput for other folders."""
    try:
        real = folder.resolve()
        with suppress(FileNotFoundError):
            folder.stat()  # refuses what cannot be the name of a folder
    except (OSError, ValueError, RuntimeError) as error:  # characters, length, links in a ring
        reason = getattr(error, "strerror", None) or error
        raise InvalidInput(f"This is no name of a folder: {str(folder)[:100]!r} ({reason}).") from error
    if not real.is_relative_to(root.resolve()):
        raise InvalidInput(f'"{folder}" lies outside the embeddings folder.')
    return root / real.relative_to(root.resolve())
