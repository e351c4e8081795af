"""Unsafe files: extract their vectors into a safe file, and keep them from being restored for hosts that execute pickles."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from train_embedding.embeddings.regular_files import read_regular_file
from train_embedding.errors import Conflict, UnreadableFile
from train_embedding.messages import msg
from train_embedding.services.formats import UNLOADED, format_for

if TYPE_CHECKING:
    from train_embedding.services.library.entries import Entry


def sanitized_bytes(entry: Entry, suffix: str) -> bytes:
    """Encode the vectors of an unsafe file and nothing else; nothing in it is executed.

    Args:
        entry: The file.
        suffix: The suffix of the new file.

    Raises:
        Conflict: The file is not unsafe.
        UnreadableFile: Its vectors cannot be read.
    """
    from train_embedding.embeddings.formats import encode, read_contents, read_sanitized

    if not entry.unsafe_reason and not entry.can_sanitize:
        raise Conflict(msg('"{name}" does not need to be sanitized.', name=entry.file.name))
    if not entry.can_sanitize:
        raise UnreadableFile(
            msg('No vectors can be read from "{name}".', name=entry.file.name), msg("Delete it and download it again.")
        )
    data = read_contents(entry.file)
    written = ".pt" if suffix.lower() in UNLOADED else suffix.lower()  # `.ckpt` files have the same content as `.pt`
    return encode(read_sanitized(data, entry.file.name), format_for(written), written)


def refuse_unsafe(files: Iterable[Path], host: str) -> None:
    """Refuse to restore unsafe files.

    Args:
        files: Files in the trash.
        host: The name of the host that would execute them.

    Raises:
        Conflict: A file is unsafe.
    """
    from train_embedding.embeddings.formats import MAX_FILE_SIZE
    from train_embedding.embeddings.formats.unsafe import unsafe_reason

    for path in files:
        reason = unsafe_reason(read_regular_file(path, MAX_FILE_SIZE), path.name)
        if reason:
            raise Conflict(
                msg(
                    '"{name}" cannot be restored: it {reason}, and {host} executes what such a file imports.',
                    name=path.name,
                    reason=reason,
                    host=host,
                ),
                msg('It is kept in "{folder}".', folder=path.parent),
            )
