"""Files on their way into a dataset: uploads and the contents of zip archives, checked before anything is kept."""

from __future__ import annotations

import stat
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from train_embedding.embeddings.regular_files import open_regular_file
from train_embedding.embeddings.storage import remove_file, storage_failed
from train_embedding.errors import InvalidInput, UnreadableFile, cannot_read
from train_embedding.images.kinds import HEAD, SUFFIXES, kind_of
from train_embedding.messages import Message, msg

MAX_FILES = 20_000
"Largest number of files that are added at once."
MAX_BYTES = 8 * 2**30
"Largest size of all added files together, also of those in archives."
MAX_FILE_BYTES = 512 * 2**20
"Largest size of one image."
MAX_NAME_BYTES = 200
"Longest name of a file in UTF-8, which leaves room for that of a temporary one."
CAPTION = ".txt"
ZIP = ".zip"
_FORBIDDEN = frozenset('<>:"|?*\\/')
_RESERVED = frozenset(["con", "prn", "aux", "nul", *(f"{port}{digit}" for port in ("com", "lpt") for digit in range(1, 10))])
_BLOCK = 2**20
_IGNORED_FOLDERS = ("__MACOSX",)
_SMALLER = msg("Unpack it on the server, and add its files in several parts.")


@dataclass(frozen=True)
class Upload:
    """A file to add: its name in the browser or on the disk, and where its content is."""

    name: str
    file: Path


@dataclass
class Staged:
    """Files that may be kept, in a folder of their own, and those that may not."""

    folder: Path
    files: list[str] = field(default_factory=list[str])
    skipped: list[tuple[str, Message]] = field(default_factory=list[tuple[str, Message]])
    bytes: int = 0
    taken: set[str] = field(default_factory=set[str])


def stage(uploads: Sequence[Upload], folder: Path) -> Staged:
    """Copy uploads and the contents of archives into a folder.

    Files that are neither images nor captions, and images that are damaged, are skipped with the reason.

    Args:
        uploads: The files.
        folder: An empty folder for the copies.

    Raises:
        InvalidInput: An archive has entries that lead outside, is encrypted, or there is too much in it.
        UnreadableFile: An archive is damaged.
        StorageFailed: The copies cannot be written.
    """
    staged = Staged(folder)
    for upload in uploads:
        if Path(upload.name).suffix.lower() == ZIP:
            _stage_archive(upload, staged)
            continue
        try:
            with open_regular_file(upload.file) as source:
                _stage_file(base_name(upload.name), upload.name, source, staged)
        except OSError as error:
            if error.filename is not None and Path(str(error.filename)) == upload.file:
                staged.skipped.append((shown(upload.name), cannot_read(shown(upload.name), error)))
                continue
            raise
    return staged


def base_name(name: str) -> str:
    """Return the last part of a path of any system, composed as most programs write it."""
    return unicodedata.normalize("NFC", name.replace("\\", "/").rpartition("/")[2])


def shown(name: str) -> str:
    """Return a name as messages show it, without control characters."""
    return "".join(letter if letter.isprintable() else "�" for letter in name)[:200]


def _stage_archive(upload: Upload, staged: Staged) -> None:
    name = shown(base_name(upload.name))
    try:
        with open_regular_file(upload.file) as stream, zipfile.ZipFile(stream) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            _check_entries(name, entries)
            kept = [entry for entry in entries if not _is_hidden(entry.filename)]
            for entry, target in zip(kept, _names_of(kept), strict=True):
                with archive.open(entry) as source:
                    _stage_file(target, entry.filename, source, staged)  # pyright: ignore[reportArgumentType]
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, KeyError) as error:
        raise UnreadableFile(
            msg('"{file}" is not a zip archive, or it is damaged.', file=name), msg("Nothing was added. Pack the images again.")
        ) from error


def _check_entries(name: str, entries: Sequence[zipfile.ZipInfo]) -> None:
    """Check what an archive says about its entries. Raises InvalidInput."""
    if len(entries) > MAX_FILES:
        raise InvalidInput(
            msg(
                '"{file}" contains {count} files; at most {limit} are added at once.',
                file=name,
                count=len(entries),
                limit=MAX_FILES,
            ),
            _SMALLER,
        )
    if sum(entry.file_size for entry in entries) > MAX_BYTES:
        raise InvalidInput(msg('"{file}" contains more than {limit} GB.', file=name, limit=MAX_BYTES // 2**30), _SMALLER)
    for entry in entries:
        path = PurePosixPath(entry.filename.replace("\\", "/"))
        leads_outside = path.is_absolute() or ".." in path.parts or any(":" in part for part in path.parts[:1])
        if leads_outside or stat.S_ISLNK(entry.external_attr >> 16):
            raise InvalidInput(
                msg('"{file}" is not used: its entry "{entry}" leads outside of it.', file=name, entry=shown(entry.filename)),
                msg("Nothing was added. Do not use archives from this source."),
            )
        if entry.flag_bits & 1:
            raise InvalidInput(msg('"{file}" is encrypted.', file=name), msg("Unpack it, and add the images."))


def _names_of(entries: Sequence[zipfile.ZipInfo]) -> Iterator[str]:
    """Yield the names of entries in the dataset: those in the archive, with the folder in front where they would collide."""
    paths = [PurePosixPath(entry.filename.replace("\\", "/")) for entry in entries]
    names = [base_name(path.name).casefold() for path in paths]
    unique = len(set(names)) == len(names)
    for path in paths:
        yield base_name(path.name) if unique or len(path.parts) < 2 else base_name(f"{path.parts[-2]}-{path.name}")


def _is_hidden(name: str) -> bool:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return any(part.startswith(".") or part in _IGNORED_FOLDERS for part in parts)


def _stage_file(name: str, original: str, source: BinaryIO, staged: Staged) -> None:
    """Copy a file into the folder if it is an image or a caption; else note why not."""
    problem = _name_problem(name)
    suffix = Path(name).suffix.lower()
    if not problem and suffix not in SUFFIXES and suffix != CAPTION:
        problem = msg("It is neither an image nor a caption (.txt).")
    if not problem and name.casefold() in staged.taken:
        problem = msg("Another of the added files has this name.")
    if problem:
        staged.skipped.append((shown(original), problem))
        return
    target = staged.folder / name
    limit = MAX_FILE_BYTES if suffix != CAPTION else 64 * 1024
    if not _copy(source, target, limit, staged):
        staged.skipped.append((shown(original), msg("It is larger than {limit} KB.", limit=limit // 1024)))
        remove_file(target)
        return
    problem = _content_problem(target)
    if problem:
        staged.skipped.append((shown(original), problem))
        remove_file(target)
        return
    staged.taken.add(name.casefold())
    staged.files.append(name)
    if len(staged.files) > MAX_FILES:
        raise InvalidInput(msg("At most {limit} files are added at once.", limit=MAX_FILES), msg("Add them in several parts."))


def _copy(source: BinaryIO, target: Path, limit: int, staged: Staged) -> bool:
    """Copy a file; return whether it is within the limit. Raises InvalidInput if all files together are too large."""
    written = 0
    try:
        with target.open("xb") as copy:
            while block := source.read(_BLOCK):
                written += len(block)
                staged.bytes += len(block)
                if staged.bytes > MAX_BYTES:
                    raise InvalidInput(msg("The files are larger than {limit} GB.", limit=MAX_BYTES // 2**30), _SMALLER)
                if written > limit:
                    return False
                copy.write(block)
    except OSError as error:
        raise storage_failed(target, error) from error
    return True


def _name_problem(name: str) -> Message | None:
    if not name or name.startswith(".") or name != name.strip() or name.endswith("."):
        return msg("Its name begins with a period, or ends with a period or a space.")
    if any(letter in _FORBIDDEN or not letter.isprintable() for letter in name):
        return msg("Its name contains a character that not every system allows.")
    if len(name.encode("utf-8", "replace")) > MAX_NAME_BYTES:
        return msg("Its name is too long.")
    return msg("Its name is reserved by Windows.") if name.split(".")[0].casefold() in _RESERVED else None


def _content_problem(file: Path) -> Message | None:
    """Return why a file is not what its suffix says."""
    from train_embedding.engine.data.captions import read_caption_file
    from train_embedding.engine.data.image import verify_image

    try:
        if file.suffix.lower() == CAPTION:
            read_caption_file(file)
            return None
        with file.open("rb") as stream:
            if not kind_of(stream.read(HEAD), file.suffix):
                return msg("It is not an image.")
        verify_image(file)
    except UnreadableFile as error:
        return error.text
    return None
