"""Restoring from the trash: under which names, and in place of which files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.names import MAX_BYTES, MAX_CHARACTERS, check_name, folded
from train_embedding.errors import InvalidInput, TrainEmbeddingError
from train_embedding.messages import msg
from train_embedding.services.formats import with_new_name
from train_embedding.services.library.listing import Catalog, ListedFile
from train_embedding.services.store.trash import Placed, Trashed

UNDER_NAME, REPLACE = msg("Restore under this name"), msg("Replace the present one")
"The labels of the two ways out in front ends."


def names_in(item: Trashed) -> list[str]:
    """Return the names of the embeddings in an item of the trash."""
    return list(dict.fromkeys(Path(file).stem for file in item.embeddings))


def place_files(item: Trashed, sources: Sequence[Path], name: str | None = None) -> Placed:
    """Return where the files of an item go.

    Args:
        item: The item.
        sources: Its files, in the order of `item.files`.
        name: The new name of its embedding; None to keep the old one.

    Raises:
        InvalidName: The name cannot be used.
        InvalidInput: The item does not have one embedding.
        UnreadableFile: The name is inside an image of a type that cannot be written.
    """
    if name is None:
        return Placed(item.files)
    check_name(name)
    old = names_in(item)
    if len({folded(stem) for stem in old}) != 1:
        raise InvalidInput(
            msg("This item does not contain a single embedding, so it cannot get another name."),
            msg('Restore it as it is, or with "{option}".', option=REPLACE),
        )
    files: list[str] = []
    contents: dict[str, bytes] = {}
    for source, file in zip(sources, item.files, strict=True):
        path = PurePosixPath(file)
        stem = next((stem for stem in old if path.name.startswith(f"{stem}.")), "")
        placed = str(path.with_name(f"{name}{path.name[len(stem) :]}")) if stem else file
        files.append(placed)
        data = with_new_name(source, name) if file in item.embeddings else None
        if data is not None:
            contents[placed] = data
    return Placed(tuple(files), contents)


def read_embeddings(item: Trashed, sources: Sequence[Path], name: str | None = None) -> dict[str, Embedding | None]:
    """Return the embeddings that restoring an item brings back, by name; None for one that cannot be read."""
    from train_embedding.embeddings.formats import read_bytes, read_contents

    found: dict[str, Embedding | None] = {}
    for source, file in zip(sources, item.files, strict=True):
        if file not in item.embeddings:
            continue
        restored = name or Path(file).stem
        try:
            found[restored] = read_bytes(read_contents(source), f"{restored}{source.suffix}")
        except TrainEmbeddingError:  # a damaged file; it is restored as it is
            found.setdefault(restored, None)
    return found


def with_sidecars(files: Sequence[ListedFile], catalog: Catalog) -> list[Path]:
    """Return files with their sidecars, except those that belong to another embedding too."""
    paths = {file.path for file in files}
    found = [file.path for file in files]
    for file in files:
        sharing = [other for other in catalog.files if other.path not in paths and other.path.parent == file.path.parent]
        if not any(other.name == file.name for other in sharing):
            found += [file.path.with_name(sidecar) for sidecar in file.sidecars]
    return list(dict.fromkeys(found))


def occupied(root: Path, placed: Placed) -> list[Path]:
    """Return the files that are where the files of an item go."""
    return [path for path in (root / file for file in placed.files) if os.path.lexists(path) and not path.is_dir()]


def free_name(name: str, taken: Iterable[str]) -> str:
    """Return a name that is not taken, such as "my-cat-2" for "my-cat"."""
    existing, number = {folded(other) for other in taken}, 1
    while True:
        number += 1
        end = f"-{number}"
        stem = name[: MAX_CHARACTERS - len(end)]
        while len(f"{stem}{end}".encode()) > MAX_BYTES:
            stem = stem[:-1]
        if folded(f"{stem.rstrip()}{end}") not in existing:
            return f"{stem.rstrip()}{end}"
