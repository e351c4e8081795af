"""The forms of embedding files as the services use them: what a file's form is called, bytes to an embedding, and back."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from train_embedding.errors import InvalidInput, StorageFailed, UnreadableFile

if TYPE_CHECKING:
    from train_embedding.embeddings.embedding import Embedding

SUFFIXES: Mapping[str, tuple[str, ...]] = {"webui": (".pt", ".bin"), "safetensors": (".safetensors",)}
"Per form that can be written, the suffixes of its files, the usual one first."


def form_of(embedding: Embedding, suffix: str) -> str:
    """The form that an embedding was read from, out of a file with that suffix."""
    return next((form for form, suffixes in SUFFIXES.items() if suffix.lower() in suffixes), "")


def read_bytes(data: bytes, file_name: str) -> Embedding:
    """The embedding in a file's bytes; its name is the file name's stem. Raises UnreadableFile."""
    from train_embedding.embeddings.formats import FORMATS

    path = PurePath(file_name)
    form = next((form for form in FORMATS if form.sniff(data)), None)
    if form is None:
        raise UnreadableFile(f'"{file_name}" is not an embedding in any form that can be read here, or it is cut short.')
    if path.suffix.lower() not in form.SUFFIXES:
        raise UnreadableFile(f'"{file_name}" is not what its name says: what it holds belongs into a {form.SUFFIXES[0]} file.')
    return form.read(data, path.stem)


def encode(embedding: Embedding, form: str, suffix: str) -> bytes:
    """The bytes of a file of that form and suffix, which read back as the same vectors.

    Raises InvalidInput for a form that there is not, or that has no such files; StorageFailed where they would not read back.
    """
    from train_embedding.embeddings.formats import FORMATS

    if suffix not in suffixes_of(form):
        raise InvalidInput(f'The form "{form}" has no "{suffix}" files.', f"Use {' or '.join(suffixes_of(form))}.")
    data = next(one for one in FORMATS if suffix in one.SUFFIXES).write(embedding)
    if fingerprint(read_bytes(data, f"{embedding.name}{suffix}")) != fingerprint(embedding):
        raise StorageFailed(f'"{embedding.name}{suffix}" was not written: it would not read back as the same vectors.')
    return data


def exported(file: Path, form: str, suffix: str) -> tuple[str, bytes]:
    """File name and bytes of an embedding file in another form; as it is where none is given.

    suffix: left out, the form's usual one. Raises NotFound, UnreadableFile, InvalidInput.
    """
    from train_embedding.embeddings.formats import read_embedding

    embedding = read_embedding(file)
    if not form and not suffix:
        return file.name, file.read_bytes()
    form = form or form_for(suffix)
    suffix = suffix or suffixes_of(form)[0]
    return f"{embedding.name}{suffix}", encode(embedding, form, suffix)


def fingerprint(embedding: Embedding) -> str:
    """The same for the same vectors, bit for bit. The key of a single text encoder does not count: its width tells it."""
    digest = hashlib.sha256()
    for key, vectors in sorted(embedding.vectors.items()):
        digest.update(f"{key if len(embedding.vectors) > 1 else ''} {[*vectors.shape]} ".encode())
        digest.update(vectors.numpy().tobytes())
    return digest.hexdigest()[:32]


def suffixes_of(form: str) -> tuple[str, ...]:
    """Raises InvalidInput for a form that there is not."""
    if form not in SUFFIXES:
        raise InvalidInput(f'There is no form "{form}" of embedding files.', f"Use one of {', '.join(SUFFIXES)}.")
    return SUFFIXES[form]


def form_for(suffix: str) -> str:
    """The form that files of a suffix are written in. Raises InvalidInput where there is none."""
    form = next((form for form, suffixes in SUFFIXES.items() if suffix.lower() in suffixes), None)
    if form is None:
        every = [suffix for suffixes in SUFFIXES.values() for suffix in suffixes]
        raise InvalidInput(f'An embedding cannot be written to a "{suffix}" file.', f"Use one of {', '.join(every)}.")
    return form
