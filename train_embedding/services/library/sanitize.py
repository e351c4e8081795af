"""Unsafe files: writes their vectors into a new file, and keeps them from being restored into a host that runs pickles."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from train_embedding.embeddings.regular_files import read_regular_file
from train_embedding.errors import Conflict, UnreadableFile
from train_embedding.services.formats import UNLOADED, format_for

if TYPE_CHECKING:
    from train_embedding.services.library.entries import Entry


def sanitized_bytes(entry: Entry, suffix: str) -> bytes:
    """Encode the vectors of an unsafe file, and nothing else of it; nothing in it is run.

    Raises Conflict where it is not unsafe, UnreadableFile where no vectors can be read.
    """
    from train_embedding.embeddings.formats import encode, read_contents, read_sanitized

    if not entry.unsafe_reason and not entry.can_sanitize:
        raise Conflict(f'"{entry.file.name}" is not unsafe; there is nothing to sanitize.')
    if not entry.can_sanitize:
        raise UnreadableFile(f'No vectors can be read from "{entry.file.name}".', "Delete it and download it again.")
    data = read_contents(entry.file)
    written = ".pt" if suffix.lower() in UNLOADED else suffix.lower()  # a `.ckpt` holds what a `.pt` does
    return encode(read_sanitized(data, entry.file.name), format_for(written), written)


def refuse_unsafe(files: Iterable[Path], host: str) -> None:
    """Raise Conflict for unsafe files. host: the name of the host that would run them."""
    from train_embedding.embeddings.formats import MAX_FILE_SIZE
    from train_embedding.embeddings.formats.unsafe import unsafe_reason

    for path in files:
        reason = unsafe_reason(read_regular_file(path, MAX_FILE_SIZE), path.name)
        if reason:
            raise Conflict(
                f'"{path.name}" stays in the trash: it {reason}, and {host} runs whatever such a file imports.',
                f'It lies in "{path.parent}".',
            )
