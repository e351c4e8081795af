"""Files that ask for more than data: their vectors in a file that does not, and no way back for them to a host that runs them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from train_embedding.embeddings.regular_files import read_regular_file
from train_embedding.errors import Conflict, UnreadableFile
from train_embedding.services.formats import UNLOADED, form_for

if TYPE_CHECKING:
    from train_embedding.services.library.entries import Entry


def harmless(entry: Entry, suffix: str) -> bytes:
    """A file of the vectors that the embedding's file holds, without what that one asks for; nothing of it is run.

    Raises Conflict where it asks for nothing, UnreadableFile where no vectors can be read.
    """
    from train_embedding.embeddings.formats import encode, read_contents, rescued

    if not entry.danger and not entry.rescuable:
        raise Conflict(f'"{entry.file.name}" asks for nothing that could do harm; it can stay as it is.')
    if not entry.rescuable:
        raise UnreadableFile(f'No vectors can be read from "{entry.file.name}".', "Delete it, and get the embedding anew.")
    data = read_contents(entry.file)
    written = ".pt" if suffix.lower() in UNLOADED else suffix.lower()  # a `.ckpt` holds what a `.pt` does
    return encode(rescued(data, entry.file.name), form_for(written), written)


def refuse_harmful(files: Iterable[Path], host: str) -> None:
    """Raises Conflict for files that a host would run something of. host: what it is called."""
    from train_embedding.embeddings.formats import MAX_FILE_SIZE
    from train_embedding.embeddings.formats.harm import harm_in

    for path in files:
        harm = harm_in(read_regular_file(path, MAX_FILE_SIZE), path.name)
        if harm:
            raise Conflict(
                f'"{path.name}" stays in the trash: it {harm}, and {host} runs whatever such a file asks for.',
                f'It lies in "{path.parent}".',
            )
