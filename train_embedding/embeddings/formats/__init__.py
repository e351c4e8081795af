"""Embedding files: a form is a layout (which keys) in a container (torch file, safetensors, picture), and read as what it is."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.formats.containers import (
    Container,
    pictures,
    pixels,
    png_text,
    safetensors_file,
    torch_file,
)
from train_embedding.embeddings.formats.content import MAX_FILE_SIZE, Content, unreadable
from train_embedding.embeddings.formats.impostors import describe_impostor
from train_embedding.embeddings.formats.layouts import Layout, diffusers, kohya, onetrainer, sdxl, webui
from train_embedding.embeddings.formats.layouts.common import tensors_in
from train_embedding.embeddings.formats.layouts.diffusers import TOKEN, first_of_pair, second_of_pair
from train_embedding.embeddings.regular_files import NotRegularFile, open_regular_file, read_regular_file
from train_embedding.embeddings.storage import write_atomically
from train_embedding.errors import InvalidInput, NotFound, StorageFailed, UnreadableFile
from train_embedding.images import png

__all__ = [
    "FORMATS", "FORMAT_NAMES", "MAX_FILE_SIZE", "SUFFIXES", "TOKEN", "Format", "encode", "first_of_pair", "is_embedding_file",
    "read_bytes", "read_contents", "read_embedding", "read_pair", "read_sanitized", "second_of_pair", "suffixes_of",
    "write_embedding",
]  # fmt: skip

CONTAINERS: tuple[Container, ...] = (torch_file, safetensors_file, png_text, pixels)
LAYOUTS: tuple[Layout, ...] = (webui, sdxl, kohya, onetrainer, diffusers)
"In the order in which a file is tried: any single tensor would do for the last."


@dataclass(frozen=True)
class Format:
    """A form that can be written: its layout for one text encoder (for several it is `sdxl`), and its container by suffix."""

    layout: Layout
    containers: Mapping[str, Container]


_TORCH: dict[str, Container] = {suffix: torch_file for suffix in torch_file.WRITTEN}  # noqa: C420 - for its type
_SAFE: dict[str, Container] = {".safetensors": safetensors_file}
FORMATS: dict[str, Format] = {
    "webui": Format(webui, _TORCH),
    # What every host reads from such a file. Read back, it is kohya's form, or that of SDXL.
    "safetensors": Format(kohya, _SAFE),
    "sdxl": Format(sdxl, {**_SAFE, **_TORCH}),
    "kohya": Format(kohya, {**_SAFE, **_TORCH}),
    "onetrainer": Format(onetrainer, {**_SAFE, **_TORCH}),
    "diffusers": Format(diffusers, {**_SAFE, **_TORCH}),
    "png": Format(webui, {".png": png_text}),
    # Not `.avif`, which Pillow writes with losses only.
    "picture": Format(webui, {suffix: pixels for suffix in pixels.SUFFIXES if suffix != ".avif"}),
}
"By name; where a suffix alone is given, the first one that has it."
FORMAT_NAMES = tuple(FORMATS)
SUFFIXES = tuple(dict.fromkeys(suffix for container in CONTAINERS for suffix in container.SUFFIXES))


def is_embedding_file(path: Path) -> bool:
    """Whether it is named like an embedding, and if it is a picture, carries one; of pictures, `*.preview.*` never is.

    Of pictures as little is read as will do, once for as long as they do not change; other files are not opened.
    """
    suffix = path.suffix.lower()
    if suffix not in pixels.SUFFIXES:
        return suffix in SUFFIXES
    if Path(path.stem).suffix.lower() == ".preview":
        return False
    try:
        status = path.stat()
    except OSError:
        return False
    if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_FILE_SIZE:
        return False
    return _carries(path, status.st_mtime_ns, status.st_size, status.st_ino)


def read_embedding(path: str | os.PathLike[str]) -> Embedding:
    """Read an embedding file of any supported format. Nothing in the file is executed.

    Args:
        path: The file; its stem becomes the embedding's name.

    Raises:
        NotFound: There is no such file.
        UnreadableFile: It is not an embedding, or cannot be read; the message says why.
    """
    path = Path(path)
    return _read(read_contents(path), path.name)


def read_contents(path: Path) -> bytes:
    """The bytes of an embedding's file.

    Raises NotFound, and UnreadableFile for one that is too large, cannot be read, or is not a regular file.
    """
    try:
        data = read_regular_file(path, MAX_FILE_SIZE)
    except FileNotFoundError as error:
        raise NotFound(f'There is no file "{path}".') from error
    except NotRegularFile as error:
        raise unreadable(path.name, "is not a regular file.") from error
    except OSError as error:
        raise unreadable(path.name, f"cannot be read: {error.strerror or error}.") from error
    if len(data) > MAX_FILE_SIZE:
        raise _too_large(path.name)
    return data


def read_bytes(data: bytes, file_name: str) -> Embedding:
    """Reads an embedding that has no place on the disk yet, such as an upload; its name is the file's stem, without folders.

    Raises UnreadableFile. The name is checked by whoever gives the embedding a place.
    """
    return _read(data, _base(file_name))


def read_pair(first: bytes, second: bytes, file_name: str) -> Embedding:
    """The embedding of two files, one for each text encoder of SDXL, as diffusers' example writes them.

    file_name: of the first; `first_of_pair` tells which files belong together. Raises UnreadableFile.
    """
    file = _base(file_name)
    return diffusers.join(_read(first, file), _read(second, file), file)


def read_sanitized(data: bytes, file_name: str) -> Embedding:
    """Read the vectors of an unsafe `.pt` or `.bin`, without what it imports; nothing in it is run.

    Raises:
        UnreadableFile: Where no embedding is left.
    """
    file = _base(file_name)
    if not torch_file.sniff(data):
        raise unreadable(file, "was not saved by torch.")
    return _arranged(torch_file.read(data, file, skip_disallowed=True), file)


def suffixes_of(format_name: str) -> tuple[str, ...]:
    """The suffixes that files of this form have, the usual one first. Raises InvalidInput for an unknown name."""
    return tuple(_format(format_name).containers)


def encode(embedding: Embedding, format_name: str, suffix: str) -> bytes:
    """The bytes of a file, which were seen to read back as the same vectors.

    Raises InvalidInput for a form or suffix that there is not, or is not here, StorageFailed where it would not read back.
    """
    suffix = suffix.lower()
    format = _format(format_name)
    container = format.containers.get(suffix)
    if container is None:
        suffixes = ", ".join(format.containers)
        raise InvalidInput(f'The form "{format_name}" has no "{suffix}" files.', f"Use {suffixes}.")
    layout = sdxl if len(embedding.vectors) > 1 else format.layout
    data = container.write(layout.write(embedding), suffix)
    file = f"{embedding.name}{suffix}"
    try:
        same = _same_values(embedding, _read(data, file))
    except UnreadableFile as error:  # a kind of picture that is not free of loss here, vectors by the thousand
        raise StorageFailed(f"It was not written, since it would not read back: {error.message}") from error
    if not same:
        raise StorageFailed(f'"{file}" was not written: it would not read back as the same vectors.')
    return data


def write_embedding(embedding: Embedding, path: str | os.PathLike[str], format: str | None = None) -> None:
    """Write an embedding file atomically, after checking that it reads back unchanged.

    Args:
        embedding: The vectors to write, with their metadata.
        path: The file; an existing one is replaced.
        format: One of FORMATS. Defaults to the usual format for the suffix of `path`.

    Raises:
        InvalidInput: The format has no files of that suffix.
        StorageFailed: The file cannot be written.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    usual = next((name for name, each in FORMATS.items() if suffix in each.containers), None)
    if usual is None:
        written = dict.fromkeys(suffix for each in FORMATS.values() for suffix in each.containers)
        raise InvalidInput(f'An embedding cannot be written to a "{path.suffix}" file.', f"Use one of {', '.join(written)}.")
    write_atomically(path, encode(embedding, format or usual, suffix))


def _format(name: str) -> Format:
    if name not in FORMATS:
        raise InvalidInput(f'There is no form "{name}" of embedding files.', f"Use one of {', '.join(FORMATS)}.")
    return FORMATS[name]


def _base(file_name: str) -> str:
    return file_name.replace("\\", "/").rpartition("/")[2]


def _read(data: bytes, file: str) -> Embedding:
    if not data:
        raise unreadable(file, "is empty.")
    if len(data) > MAX_FILE_SIZE:
        raise _too_large(file)
    container = next((container for container in CONTAINERS if container.sniff(data)), None)
    if container is None:
        impostor = describe_impostor(data)
        raise unreadable(file, f"{impostor or 'is not an embedding in any form that can be read here, or it is cut short'}.")
    if Path(file).suffix.lower() not in container.SUFFIXES:
        usual = pictures.suffix_of(data) or container.SUFFIXES[0]
        reason = f"is not what its name says: what it holds belongs into a {usual} file."
        raise unreadable(file, reason, "Rename it if you trust where it came from.")
    return _arranged(container.read(data, file), file)


def _arranged(content: Content, file: str) -> Embedding:
    layout = next((layout for layout in LAYOUTS if layout.sniff(content)), None)
    if layout is None:
        count = len(tensors_in(content.values))
        hint = "" if count else "It may be something else than an embedding."
        raise unreadable(file, f"holds {count} tensors; an embedding has one, or one for each text encoder.", hint)
    return layout.read(content, file)


def _too_large(file: str) -> UnreadableFile:
    return unreadable(file, f"is larger than {MAX_FILE_SIZE // 2**20} MB, too large for an embedding.")


@lru_cache(maxsize=2**14)
def _carries(path: Path, *stamp: int) -> bool:
    """Whether a picture carries an embedding. stamp: what changes when the file does."""
    try:
        with open_regular_file(path) as file:
            if file.read(len(png.SIGNATURE)) == png.SIGNATURE and png_text.embedding_text(file) is not None:
                return True
    except (png.NotPNG, OSError):
        return False
    return pixels.carries_values(path)


def _same_values(one: Embedding, other: Embedding) -> bool:
    """Whether the vectors are equal; the key of a single text encoder follows from the width, so a file need not name it."""
    if len(one.vectors) == len(other.vectors) == 1:
        return torch.equal(next(iter(one.vectors.values())), next(iter(other.vectors.values())))
    if set(one.vectors) != set(other.vectors):
        return False
    return all(torch.equal(vectors, other.vectors[key]) for key, vectors in one.vectors.items())
