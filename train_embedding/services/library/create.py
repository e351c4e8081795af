"""New embeddings out of a text: what is checked, how many vectors it becomes, and where its file goes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.metadata import INIT_TEXT
from train_embedding.embeddings.names import check_name
from train_embedding.errors import InvalidInput
from train_embedding.hosts.base import Host
from train_embedding.services.library.entries import Entry
from train_embedding.services.library.initial import (
    MAX_VECTORS,
    automatic,
    checked_start,
    checked_text,
    initial_vectors,
    source_tokens,
    vector_count,
)
from train_embedding.services.library.warnings import remarks_on_new
from train_embedding.services.store.scan import embedding_names
from train_embedding.services.store.store import NEW_SUFFIX, Shelf, taken

NEW_SUFFIXES = (NEW_SUFFIX, ".safetensors")

Read = Callable[[str], Embedding]
"Gives an embedding by its name."


@dataclass(frozen=True)
class Created:
    """A new embedding. tokens: how many the text has; notes: sentences that whoever made it should read."""

    entry: Entry
    tokens: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Budget:
    """What an embedding takes of a prompt. tokens: of the text; vectors: tokens that the embedding will take."""

    tokens: int
    vectors: int
    limit: int = MAX_VECTORS


@dataclass(frozen=True)
class New:
    """An embedding that is made and not yet written."""

    embedding: Embedding
    file: Path
    tokens: int
    notes: tuple[str, ...]


def new_embedding(
    host: Host, shelf: Shelf, read: Read, name: str, init_text: str, vectors: int | str, overwrite: bool, suffix: str, start: str
) -> New:
    """Arguments and errors are those of `Library.create`."""
    check_name(name)
    checked_start(start)
    wanted = vector_count(vectors)
    text = checked_text(init_text)
    if suffix not in NEW_SUFFIXES:
        raise InvalidInput(f'A new embedding cannot be a "{suffix}" file.', f"Use {' or '.join(NEW_SUFFIXES)}.")
    if not overwrite and shelf.files_named(name):
        raise taken(name)
    file = shelf.place(name, suffix)
    others = embedding_names(shelf.root)
    initial = initial_vectors(host, text, wanted, start, read)
    notes = (*initial.notes, *remarks_on_new(name, others))
    known = {INIT_TEXT: text.strip()} if start != "embedding" and text.strip() else {}
    return New(Embedding(name, initial.vectors, step=0, metadata=known), file, initial.tokens, notes)


def budget_of(init_text: str, vectors: int | str, start: str, read: Read) -> Budget:
    """Arguments and errors are those of `Library.budget`."""
    tokens = source_tokens(checked_text(init_text), checked_start(start), read)
    return Budget(tokens, vector_count(vectors) or automatic(tokens))
