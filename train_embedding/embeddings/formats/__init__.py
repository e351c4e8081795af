"""Read and write embedding files. A format is a layout (which keys) in a container (torch file, safetensors, image)."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

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
from train_embedding.embeddings.storage import system_reason, write_atomically
from train_embedding.errors import InvalidInput, NotFound, StorageFailed, UnreadableFile
from train_embedding.images import png
from train_embedding.messages import NOTHING, joined, msg, plural

if TYPE_CHECKING:
    from PIL import Image

__all__ = [
    "FORMATS", "MAX_FILE_SIZE", "SUFFIXES", "TOKEN", "Format", "draw_card", "encode", "encode_card", "first_of_pair",
    "is_embedding_file", "read_bytes", "read_contents", "read_embedding", "read_pair", "read_sanitized", "second_of_pair",
    "write_embedding",
]  # fmt: skip

CONTAINERS: tuple[Container, ...] = (torch_file, safetensors_file, png_text, pixels)
LAYOUTS: tuple[KeyLayout, ...] = (webui, sdxl, kohya, onetrainer, diffusers)
"In the order in which they are tried; the last one accepts any single tensor."


@dataclass(frozen=True)
class Format:
    """A format for writing."""

    layout: KeyLayout
    "For embeddings with one text encoder; those with several use `sdxl`."
    containers: Mapping[str, Container]
    "By suffix."


def _format(name: FormatName, layout: KeyLayout, container: Container | None = None) -> Format:
    """Return a format with its suffixes. The suffix determines the container, unless one is given."""
    return Format(layout, {suffix: container or _CONTAINER_OF[suffix] for suffix in SUFFIXES_OF[name]})


_CONTAINER_OF: Mapping[str, Container] = {".pt": torch_file, ".bin": torch_file, ".safetensors": safetensors_file}
FORMATS: Mapping[FormatName, Format] = {
    "webui": _format("webui", webui),
    # The layout that every host reads; when read back, the format is "kohya" or "sdxl".
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
"Suffixes of files that can be read."


def is_embedding_file(path: Path) -> bool:
    """Return whether a file has the suffix of an embedding and, if it is an image, contains one.

    `*.preview.*` images are never embeddings. Other images are read as far as needed, and again only after they change; files of
    other types are not opened.
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
    return _contains_embedding(path, status.st_mtime_ns, status.st_size, status.st_ino)


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
    """Read the bytes of an embedding file.

    Raises:
        NotFound: There is no such file.
        UnreadableFile: It is too large, cannot be read, or is not a regular file.
    """
    try:
        data = read_regular_file(path, MAX_FILE_SIZE)
    except FileNotFoundError as error:
        raise NotFound(msg('The file "{file}" does not exist.', file=path)) from error
    except NotRegularFile as error:
        raise unreadable(path.name, msg("is not a regular file.")) from error
    except OSError as error:
        raise unreadable(path.name, msg("cannot be read: {reason}.", reason=system_reason(error))) from error
    if len(data) > MAX_FILE_SIZE:
        raise _too_large(path.name)
    return data


def read_bytes(data: bytes, file_name: str) -> Embedding:
    """Read an embedding from bytes, such as an upload.

    Args:
        data: The content of the file.
        file_name: Its name; folders in it are ignored. The stem becomes the embedding's name, which is not checked here.

    Raises:
        UnreadableFile: The file is not an embedding.
    """
    return _read(data, _base(file_name))


def read_pair(first: bytes, second: bytes, file_name: str) -> Embedding:
    """Read an embedding from two files, one per text encoder of SDXL, as diffusers' example script writes them.

    Args:
        first: Content of the file for the first text encoder.
        second: Content of the file for the second text encoder.
        file_name: Name of the first file. `first_of_pair` determines which files belong together.

    Raises:
        UnreadableFile: One of the files is not an embedding, or they are for the same text encoder.
    """
    file = _base(file_name)
    return diffusers.join(_read(first, file), _read(second, file), file)


def read_sanitized(data: bytes, file_name: str) -> Embedding:
    """Read the vectors of an unsafe `.pt` or `.bin` file without its imports; nothing in it is executed.

    Raises:
        UnreadableFile: It contains no embedding.
    """
    file = _base(file_name)
    if not torch_file.sniff(data):
        raise unreadable(file, msg("was not saved by torch."))
    return _from_content(torch_file.read(data, file, skip_disallowed=True), file)


def encode(embedding: Embedding, format_name: str, suffix: str) -> bytes:
    """Encode an embedding as the bytes of a file, and check that they read back as the same vectors.

    Args:
        embedding: The embedding.
        format_name: One of `format_names.FORMAT_NAMES`.
        suffix: One of the format's suffixes, such as ".pt".

    Raises:
        InvalidInput: The format or suffix does not exist, or Pillow cannot write this kind of image.
        StorageFailed: The bytes do not read back as the same vectors.
    """
    suffix = suffix.lower()
    format = FORMATS[check_format(format_name)]
    container = format.containers.get(suffix)
    if container is None:
        raise InvalidInput(
            msg('The format "{format}" has no "{suffix}" files.', format=format_name, suffix=suffix),
            msg("Use one of {names}.", names=joined(format.containers)),
        )
    layout = sdxl if len(embedding.vectors) > 1 else format.layout
    data = container.write(layout.write(embedding), suffix)
    _check_reads_back(embedding, data, f"{embedding.name}{suffix}")
    return data


def encode_card(embedding: Embedding, picture: Image.Image | None = None) -> bytes:
    """Draw an image that shows and contains an embedding, and check that the vectors in it are the same.

    The WebUI reads them from the text chunk or, if a website has removed that, from the pixels.

    Args:
        embedding: The embedding.
        picture: Fills the image; None for a gradient made of the vectors.

    Returns:
        The bytes of a PNG file.

    Raises:
        InvalidInput: The embedding has several text encoders.
        StorageFailed: The vectors do not read back, for example because there are thousands.
    """
    content, file = webui.write(embedding), f"{embedding.name}.png"
    packed = pixels.pack(content)
    drawn = images.draw(content.values, pixels.least_pixels(packed), picture)
    data = images.encode(pixels.within(drawn, packed), ".png")
    _check_reads_back(embedding, data, file)
    data = png_text.with_values(data, content)
    _check_reads_back(embedding, data, file)
    return data


def draw_card(embedding: Embedding, picture: Image.Image | None = None) -> bytes:
    """Draw the same image without the vectors, for an embedding with several text encoders. Returns the bytes of a PNG file."""
    first = replace(embedding, vectors=dict([next(iter(embedding.vectors.items()))]))
    return images.encode(images.draw(webui.write(first).values, 0, picture), ".png")


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
    """Return a file name without folders, whatever system it comes from."""
    return file_name.replace("\\", "/").rpartition("/")[2]


def _read(data: bytes, file: str) -> Embedding:
    if not data:
        raise unreadable(file, msg("is empty."))
    if len(data) > MAX_FILE_SIZE:
        raise _too_large(file)
    container = next((container for container in CONTAINERS if container.sniff(data)), None)
    if container is None:
        if impostor := describe_impostor(data):
            raise unreadable(file, msg("{problem}.", problem=impostor))
        raise unreadable(file, msg("is not an embedding in a supported format, or is cut short."))
    if Path(file).suffix.lower() not in container.SUFFIXES:
        usual = images.suffix_of(data) or container.SUFFIXES[0]
        reason = msg("has the wrong suffix: it is a {suffix} file.", suffix=usual)
        raise unreadable(file, reason, msg("Rename it if you trust its source."))
    return _from_content(container.read(data, file), file)


def _from_content(content: Content, file: str) -> Embedding:
    layout = next((layout for layout in LAYOUTS if layout.sniff(content)), None)
    if layout is None:
        count = len(tensors_in(content.values))
        reason = plural(
            "contains {count} tensor; an embedding has one per text encoder.",
            "contains {count} tensors; an embedding has one per text encoder.",
            count,
        )
        raise unreadable(file, reason, NOTHING if count else msg("It may not be an embedding."))
    return layout.read(content, file)


def _too_large(file: str) -> UnreadableFile:
    return unreadable(file, msg("is larger than {limit} MB, too large for an embedding.", limit=MAX_FILE_SIZE // 2**20))


@lru_cache(maxsize=2**14)
def _contains_embedding(path: Path, *stamp: int) -> bool:
    """Return whether an image contains an embedding; `stamp` is part of the cache key and changes with the file."""
    try:
        with open_regular_file(path) as file:
            if file.read(len(png.SIGNATURE)) == png.SIGNATURE and png_text.embedding_text(file) is not None:
                return True
    except (png.NotPNG, OSError):
        return False
    return pixels.contains_values(path)


def _check_reads_back(embedding: Embedding, data: bytes, file: str) -> None:
    try:
        same = _same_vectors(embedding, _read(data, file))
    except UnreadableFile as error:  # such as thousands of vectors
        raise StorageFailed(
            msg('"{file}" was not written because it could not be read back: {reason}', file=file, reason=error.message)
        ) from error
    if not same:  # such as a kind of image that Pillow writes only lossily here
        raise StorageFailed(msg('"{file}" was not written because its vectors would change.', file=file))


def _same_vectors(embedding: Embedding, other: Embedding) -> bool:
    """Return whether the vectors are equal. The key of a single text encoder may differ: readers derive it from the width."""
    if len(embedding.vectors) == len(other.vectors) == 1:
        return torch.equal(next(iter(embedding.vectors.values())), next(iter(other.vectors.values())))
    if set(embedding.vectors) != set(other.vectors):
        return False
    return all(torch.equal(vectors, other.vectors[key]) for key, vectors in embedding.vectors.items())
