"""What comes into the library beside an embedding: its pictures, notes and optimizer's state, each looked at before."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from train_embedding.errors import UnreadableFile
from train_embedding.services.sidecars import notes, preview, untrusted_images
from train_embedding.services.sidecars.files import NOTES_SUFFIX, OPTIMIZER_SUFFIX, PICTURE_SUFFIXES, TEXT_SUFFIX, split

INFO_SUFFIX = ".info"
"What model managers keep of an embedding, as JSON."
_BEGINNINGS: dict[str, tuple[tuple[int, bytes], ...]] = {
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
"By suffix, where a file has which bytes. Videos and pictures that nobody opens here are kept as they are."
MAX_MEDIA = 64 * 2**20
"Bytes of such a file."


@dataclass(frozen=True)
class Beside:
    """A file that comes along with an embedding."""

    ending: str
    "Of its name, after the embedding's name, or after the whole name of its file where it belongs to that alone."
    data: bytes
    of_file: bool

    def at(self, file: Path) -> Path:
        """Where it goes, once the embedding's file has a place."""
        return file.with_name(f"{file.name if self.of_file else file.stem}{self.ending}")


def limit_of(file_name: str) -> int:
    """How many bytes a sidecar may have; 0 where its kind stays behind."""
    from train_embedding.embeddings.formats import MAX_FILE_SIZE

    suffix = split(file_name)[1].lower()
    if suffix in PICTURE_SUFFIXES:
        return untrusted_images.MAX_SIZE
    if suffix in _BEGINNINGS:
        return MAX_MEDIA
    if suffix in (NOTES_SUFFIX, INFO_SUFFIX, TEXT_SUFFIX):
        return notes.MAX_SIZE
    return MAX_FILE_SIZE if suffix == OPTIMIZER_SUFFIX else 0


def checked(embedding_file: str, file_name: str, data: bytes) -> Beside:
    """Raises UnreadableFile for what is not what its name says, is too large, or is unsafe."""
    suffix = split(file_name)[1]
    of_file = file_name.startswith(f"{embedding_file}.")
    ending = file_name[len(embedding_file if of_file else split(embedding_file)[0]) :]
    if len(data) > (limit := limit_of(file_name)):
        raise UnreadableFile(f"It is larger than {limit // 2**20} MB.")
    if suffix.lower() == OPTIMIZER_SUFFIX:
        _check_optimizer_state(data)
    elif suffix.lower() in PICTURE_SUFFIXES:
        preview.suffix_for(data)
        if _is_embedding(file_name, data):  # a host would load it in place of the other one
            ending = f"{ending.removesuffix(suffix)}.preview{suffix}"
    elif suffix.lower() in _BEGINNINGS:
        if not any(data[start : start + len(mark)] == mark for start, mark in _BEGINNINGS[suffix.lower()]):
            raise UnreadableFile(f"It is not a {suffix[1:].upper()} file.")
    elif suffix.lower() == TEXT_SUFFIX:
        if b"\0" in data:
            raise UnreadableFile("It is not a text file.")
    else:
        _check_object(data)
    return Beside(ending, data, of_file)


def _check_optimizer_state(data: bytes) -> None:
    """The WebUI's trainer loads it by the same means as an embedding."""
    from train_embedding.embeddings.formats.containers import torch_file
    from train_embedding.embeddings.formats.unsafe import unsafe_reason

    if not torch_file.sniff(data) or unsafe_reason(data, f"optimizer{torch_file.SUFFIXES[0]}"):
        raise UnreadableFile("It is not an optimizer's state, or it is unsafe.")


def _is_embedding(file_name: str, data: bytes) -> bool:
    from train_embedding.embeddings.formats import SUFFIXES, read_bytes

    inner, suffix = split(split(file_name)[0])[1], split(file_name)[1]
    if suffix.lower() not in SUFFIXES or inner.lower() == ".preview":
        return False
    try:
        read_bytes(data, file_name)
    except UnreadableFile:
        return False
    return True


def _check_object(data: bytes) -> None:
    try:
        notes.notes_in(data)
    except ValueError as error:
        raise UnreadableFile(f"It cannot be read: {error}") from error
