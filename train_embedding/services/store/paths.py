"""Checks that links and folder names do not lead out of the embeddings folder."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from train_embedding.embeddings.names import link_cannot_be_followed, link_leads_outside
from train_embedding.errors import InvalidInput, InvalidName
from train_embedding.messages import NOTHING, Message, msg


def link_problem(path: Path, root: Path) -> Message:
    """Return why a link must not be followed; empty if it may, and for paths that are not links.

    Args:
        path: The path.
        root: The embeddings folder, with links resolved.
    """
    try:
        if not path.is_symlink() or path.resolve().is_relative_to(root):
            return NOTHING
    except (OSError, RuntimeError) as error:
        return link_cannot_be_followed(path, error)
    return link_leads_outside(path)


def check_inside(path: Path, root: Path) -> None:
    """Raise InvalidName for a link that leads out of the embeddings folder, `root`."""
    problem = link_problem(path, root.resolve())
    if problem:
        raise InvalidName(problem, msg("Choose another name, or remove the link."))


def resolve_folder(folder: Path, root: Path) -> Path:
    """Return a folder below the embeddings folder as lists show it: relative to `root`, with links below it resolved.

    Raises:
        InvalidInput: It is not a valid folder name, or it is outside the embeddings folder.
    """
    try:
        real = folder.resolve()
        with suppress(FileNotFoundError):
            folder.stat()  # raises an error for invalid names
    except (OSError, ValueError, RuntimeError) as error:  # invalid characters, too long, a loop of links
        reason = getattr(error, "strerror", None) or error
        raise InvalidInput(
            msg("{name} is not a valid folder name: {reason}.", name=repr(str(folder)[:100]), reason=reason)
        ) from error
    if not real.is_relative_to(root.resolve()):
        raise InvalidInput(msg('"{folder}" is outside the embeddings folder.', folder=folder))
    return root / real.relative_to(root.resolve())
