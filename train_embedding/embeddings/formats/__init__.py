"""Embedding files: each format has `SUFFIXES`, `sniff`, `read` and `write`; here they are chosen, read and written safely."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Protocol

import torch

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.formats import safetensors_file, webui_pt
from train_embedding.embeddings.storage import write_atomically
from train_embedding.errors import InvalidInput, NotFound, StorageFailed, UnreadableFile

MAX_FILE_SIZE = 64 * 2**20
"Bytes; 75 vectors for SDXL take 0.6 MB."


class Format(Protocol):
    """What each module of this folder offers."""

    SUFFIXES: tuple[str, ...]

    def sniff(self, data: bytes) -> bool: ...

    def read(self, data: bytes, name: str) -> Embedding: ...

    def write(self, embedding: Embedding) -> bytes: ...


FORMATS: tuple[Format, ...] = (webui_pt, safetensors_file)
SUFFIXES = tuple(suffix for format in FORMATS for suffix in format.SUFFIXES)


def is_embedding_file(path: Path) -> bool:
    """Whether the name says that it holds an embedding; `*.preview.*` never does."""
    return path.suffix.lower() in SUFFIXES and Path(path.stem).suffix.lower() != ".preview"


def read_embedding(path: Path) -> Embedding:
    """Reads the embedding at `path`; its name is the file's stem.

    Nothing in the file is executed. Raises NotFound, or UnreadableFile with one sentence for whatever else is wrong.
    """
    data = _bytes_of(path)
    format = next((format for format in FORMATS if format.sniff(data)), None)
    if format is None:
        raise UnreadableFile(f'"{path.name}" is not an embedding in any form that can be read here, or it is cut short.')
    if path.suffix.lower() not in format.SUFFIXES:
        raise UnreadableFile(
            f'"{path.name}" is not what its name says: what it holds belongs into a {format.SUFFIXES[0]} file.',
            "Rename it if you trust where it came from.",
        )
    return format.read(data, path.stem)


def write_embedding(embedding: Embedding, path: Path) -> None:
    """Writes `path` in the format its suffix names, all of it or nothing, and only what reads back as the same values.

    Raises InvalidInput for a suffix that is none of SUFFIXES, StorageFailed when the file cannot be written.
    """
    format = next((format for format in FORMATS if path.suffix.lower() in format.SUFFIXES), None)
    if format is None:
        raise InvalidInput(f'An embedding cannot be written to a "{path.suffix}" file.', f"Use one of {', '.join(SUFFIXES)}.")
    data = format.write(embedding)
    if not _same_values(embedding, format.read(data, embedding.name)):
        raise StorageFailed(f'"{path.name}" was not written: it would not read back as the same vectors.')
    write_atomically(path, data)


def _bytes_of(path: Path) -> bytes:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableFile(f'"{path.name}" is not a regular file.')
        if status.st_size == 0:
            raise UnreadableFile(f'"{path.name}" is empty.')
        if status.st_size <= MAX_FILE_SIZE:
            with path.open("rb") as file:
                data = file.read(MAX_FILE_SIZE + 1)
            if len(data) <= MAX_FILE_SIZE:
                return data
        raise UnreadableFile(f'"{path.name}" is larger than {MAX_FILE_SIZE // 2**20} MB, too large for an embedding.')
    except FileNotFoundError as error:
        raise NotFound(f'There is no file "{path}".') from error
    except OSError as error:
        raise UnreadableFile(f'"{path.name}" cannot be read: {error.strerror or error}.') from error


def _same_values(one: Embedding, other: Embedding) -> bool:
    """Whether the vectors are equal; the key of a single text encoder follows from the width, so a file need not name it."""
    if len(one.vectors) == len(other.vectors) == 1:
        return torch.equal(next(iter(one.vectors.values())), next(iter(other.vectors.values())))
    if set(one.vectors) != set(other.vectors):
        return False
    return all(torch.equal(vectors, other.vectors[key]) for key, vectors in one.vectors.items())
