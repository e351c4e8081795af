"""Companions: images, notes and optimizer state that are imported with an embedding after checks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from train_embedding.errors import UnreadableFile
from train_embedding.images.limits import PREVIEW_BYTES
from train_embedding.messages import msg
from train_embedding.services.sidecars import notes
from train_embedding.services.sidecars.files import (
    NOTES_SUFFIX,
    OPTIMIZER_SUFFIX,
    TEXT_SUFFIX,
    WEBUI_IMAGE_SUFFIXES,
    split_suffix,
)
from train_embedding.services.sidecars.untrusted_images import check_preview

INFO_SUFFIX = ".info"
"JSON files in which model managers store information about an embedding."
MAX_MEDIA = 64 * 2**20
"Largest size in bytes of a video, or of an image that is not decoded here."

_SIGNATURES: dict[str, tuple[tuple[int, bytes], ...]] = {
    **dict.fromkeys((".mp4", ".m4v", ".mov", ".avif", ".heic", ".heif"), ((4, b"ftyp"),)),
    **dict.fromkeys((".webm", ".mkv"), ((0, b"\x1a\x45\xdf\xa3"),)),
    ".avi": ((0, b"RIFF"),),
    ".ogv": ((0, b"OggS"),),
    **dict.fromkeys((".tif", ".tiff"), ((0, b"II*\0"), (0, b"MM\0*"), (0, b"II+\0"), (0, b"MM\0+"))),
    ".bmp": ((0, b"BM"),),
    ".jfif": ((0, b"\xff\xd8\xff"),),
    ".apng": ((0, b"\x89PNG"),),
    ".jxl": ((0, b"\xff\x0a"), (4, b"JXL ")),
}
"Offset and bytes of the signature, by suffix. These videos and images are kept without being decoded."


@dataclass(frozen=True)
class Companion:
    """A file that is imported with an embedding."""

    ending: str
    "The end of its name, after the name of the embedding, or of the embedding's file if `of_file`."
    data: bytes
    of_file: bool
    "Whether it belongs to one file, such as `name.pt.optim`, not to every file of that name."

    def path_beside(self, file: Path) -> Path:
        """Return its path next to the embedding's file."""
        return file.with_name(f"{file.name if self.of_file else file.stem}{self.ending}")


def max_size(file_name: str) -> int:
    """Return the largest size in bytes of a companion with that name; 0 if files of its type are not imported."""
    from train_embedding.embeddings.formats import MAX_FILE_SIZE

    suffix = split_suffix(file_name)[1].lower()
    if suffix in WEBUI_IMAGE_SUFFIXES:
        return PREVIEW_BYTES
    if suffix in _SIGNATURES:
        return MAX_MEDIA
    if suffix in (NOTES_SUFFIX, INFO_SUFFIX, TEXT_SUFFIX):
        return notes.MAX_SIZE
    return MAX_FILE_SIZE if suffix == OPTIMIZER_SUFFIX else 0


def check_companion(embedding_file: str, file_name: str, data: bytes) -> Companion:
    """Check that a file is of the type that its name says, and safe.

    Args:
        embedding_file: The name of the embedding's file.
        file_name: The name of the file that belongs to it.
        data: The bytes of that file.

    Raises:
        UnreadableFile: It is too large, of another type, or unsafe.
    """
    suffix = split_suffix(file_name)[1]
    of_file = file_name.startswith(f"{embedding_file}.")
    ending = file_name[len(embedding_file if of_file else split_suffix(embedding_file)[0]) :]
    if len(data) > (limit := max_size(file_name)):
        raise UnreadableFile(msg("It is larger than {limit} MB.", limit=limit // 2**20))
    _check_content(suffix.lower(), data)
    if suffix.lower() in WEBUI_IMAGE_SUFFIXES and _is_embedding(file_name, data):
        ending = f"{ending.removesuffix(suffix)}.preview{suffix}"  # otherwise a host would load it in place of the embedding
    return Companion(ending, data, of_file)


def _check_content(suffix: str, data: bytes) -> None:
    if suffix == OPTIMIZER_SUFFIX:
        _check_optimizer_state(data)
    elif suffix in WEBUI_IMAGE_SUFFIXES:
        check_preview(data)
    elif suffix in _SIGNATURES:
        if not any(data[start : start + len(mark)] == mark for start, mark in _SIGNATURES[suffix]):
            raise UnreadableFile(msg("It is not a valid {format} file.", format=suffix[1:].upper()))
    elif suffix == TEXT_SUFFIX:
        if b"\0" in data:
            raise UnreadableFile(msg("It is not a text file."))
    else:
        _check_json(data)


def _check_optimizer_state(data: bytes) -> None:
    """Check a file that the WebUI's trainer unpickles, as it does embeddings."""
    from train_embedding.embeddings.formats.containers import torch_file
    from train_embedding.embeddings.formats.unsafe import unsafe_reason

    if not torch_file.sniff(data) or unsafe_reason(data, f"optimizer{torch_file.SUFFIXES[0]}"):
        raise UnreadableFile(msg("It is not the state of an optimizer, or it is unsafe."))


def _is_embedding(file_name: str, data: bytes) -> bool:
    from train_embedding.embeddings.formats import SUFFIXES, read_bytes

    inner, suffix = split_suffix(split_suffix(file_name)[0])[1], split_suffix(file_name)[1]
    if suffix.lower() not in SUFFIXES or inner.lower() == ".preview":
        return False
    try:
        read_bytes(data, file_name)
    except UnreadableFile:
        return False
    return True


def _check_json(data: bytes) -> None:
    try:
        notes.parse_notes(data)
    except notes.NotNotes as error:
        raise UnreadableFile(msg("It cannot be read: {reason}.", reason=error.reason)) from error
