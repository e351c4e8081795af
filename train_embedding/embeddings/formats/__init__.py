"""Reads and writes embedding files: a format is a layout (which keys) in a container (torch file, safetensors, image)."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.format_names import SUFFIXES as SUFFIXES_OF
from train_embedding.embeddings.format_names import FormatName, check_format, format_for
from train_embedding.embeddings.formats.containers import (
    Container,
    images,
    pixels,
    png_text,
    safetensors_file,
    torch_file,
)
from train_embedding.embeddings.formats.content import MAX_FILE_SIZE, Content, unreadable
from train_embedding.embeddings.formats.impostors import describe_impostor
from train_embedding.embeddings.formats.layouts import KeyLayout, diffusers, kohya, onetrainer, sdxl, webui
from train_embedding.embeddings.formats.layouts.common import tensors_in
from train_embedding.embeddings.formats.layouts.diffusers import TOKEN, first_of_pair, second_of_pair
from train_embedding.embeddings.regular_files import NotRegularFile, open_regular_file, read_regular_file
from train_embedding.embeddings.storage import write_atomically
from train_embedding.errors import InvalidInput, NotFound, StorageFailed, UnreadableFile
from train_embedding.images import png

__all__ = [
    "FORMATS", "MAX_FILE_SIZE", "SUFFIXES", "TOKEN", "Format", "encode", "first_of_pair", "is_embedding_file",
    "read_bytes", "read_contents", "read_embedding", "read_pair", "read_sanitized", "second_of_pair",
    "write_embedding",
]  # fmt: skip

CONTAINERS: tuple[Container, ...] = (torch_file, safetensors_file, png_text, pixels)
LAYOUTS: tuple[KeyLayout, ...] = (webui, sdxl, kohya, onetrainer, diffusers)
"In the order in which a file is tried; the last accepts any single tensor."


@dataclass(frozen=True)
class Format:
    """A format that can be written: its layout for one text encoder (for several it is `sdxl`), and its container by suffix."""

    layout: KeyLayout
    containers: Mapping[str, Container]


def _format(name: FormatName, layout: KeyLayout, container: Container | None = None) -> Format:
    """A format with the suffixes of its name. container: of all its files; left out, their suffixes decide."""
    return Format(layout, {suffix: container or _CONTAINER_OF[suffix] for suffix in SUFFIXES_OF[name]})


_CONTAINER_OF: Mapping[str, Container] = {".pt": torch_file, ".bin": torch_file, ".safetensors": safetensors_file}
FORMATS: Mapping[FormatName, Format] = {
    "webui": _format("webui", webui),
    # What every host reads from such a file. Read back, its format is kohya's, or that of SDXL.
    "safetensors": _format("safetensors", kohya),
    "sdxl": _format("sdxl", sdxl),
    "kohya": _format("kohya", kohya),
    "onetrainer": _format("onetrainer", onetrainer),
    "diffusers": _format("diffusers", diffusers),
    "png": _format("png", webui, png_text),
    "image": _format("image", webui, pixels),
}
"By name."
SUFFIXES = tuple(dict.fromkeys(suffix for container in CONTAINERS for suffix in container.SUFFIXES))


def is_embedding_file(path: Path) -> bool:
    """Return whether a file is named like an embedding and, if it is an image, carries one; `*.preview.*` images never do.

    Of an image only what is needed is read, once until it changes; other files are not opened.
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
    """Read the bytes of an embedding's file.

    Raises:
        NotFound: Where there is no such file.
        UnreadableFile: Where it is too large, cannot be read, or is not a regular file.
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
    """Read an embedding that is not on the disk yet, such as an upload; its name is the file's stem, without folders.

    The name is not checked here, but where the embedding is saved.

    Raises:
        UnreadableFile: Where the bytes are no embedding.
    """
    return _read(data, _base(file_name))


def read_pair(first: bytes, second: bytes, file_name: str) -> Embedding:
    """Read the embedding of two files, one for each text encoder of SDXL, as diffusers' example writes them.

    Args:
        first: The file for the first text encoder.
        second: The file for the second text encoder.
        file_name: Name of the first; `first_of_pair` says which files belong together.

    Raises:
        UnreadableFile: Where either is no embedding, or they are no pair.
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


def encode(embedding: Embedding, format_name: str, suffix: str) -> bytes:
    """Encode an embedding as the bytes of a file, which are checked to read back as the same vectors.

    Args:
        embedding: What to encode.
        format_name: One of `format_names.FORMAT_NAMES`.
        suffix: One of the format's, such as ".pt".

    Raises:
        InvalidInput: For a format or suffix that does not exist, or cannot be written here.
        StorageFailed: Where the bytes would not read back as the same vectors.
    """
    suffix = suffix.lower()
    format = FORMATS[check_format(format_name)]
    container = format.containers.get(suffix)
    if container is None:
        suffixes = ", ".join(format.containers)
        raise InvalidInput(f'The format "{format_name}" has no "{suffix}" files.', f"Use {suffixes}.")
    layout = sdxl if len(embedding.vectors) > 1 else format.layout
    data = container.write(layout.write(embedding), suffix)
    file = f"{embedding.name}{suffix}"
    try:
        same = _same_values(embedding, _read(data, file))
    except UnreadableFile as error:  # an image kind that is lossy here, thousands of vectors
        raise StorageFailed(f"It was not written, since it would not read back: {error.message}") from error
    if not same:
        raise StorageFailed(f'"{file}" was not written: it would not read back as the same vectors.')
    return data


def write_embedding(embedding: Embedding, path: str | os.PathLike[str], format: str | None = None) -> None:
    """Write an embedding file atomically, after checking that it reads back unchanged.

    Args:
        embedding: The vectors to write, with their metadata.
        path: The file; an existing one is replaced.
        format: One of `FORMATS`; by default the usual format for the suffix of `path`.

    Raises:
        InvalidInput: The format has no files of that suffix.
        StorageFailed: The file cannot be written.
    """
    path = Path(path)
    usual = format_for(path.suffix)
    write_atomically(path, encode(embedding, format or usual, path.suffix))


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
        raise unreadable(file, f"{impostor or 'is not an embedding in any format that can be read here, or it is cut short'}.")
    if Path(file).suffix.lower() not in container.SUFFIXES:
        usual = images.suffix_of(data) or container.SUFFIXES[0]
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
    """Whether an image carries an embedding. stamp: what changes when the file does."""
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
