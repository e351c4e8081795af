"""The sources of an import: paths and uploads, read into one `IncomingFile` per embedding with its companions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from train_embedding.allowed_folders import resolve_allowed
from train_embedding.embeddings.regular_files import NotRegularFile, read_regular_file
from train_embedding.errors import InvalidInput, NotAllowed, NotFound, TrainEmbeddingError, UnreadableFile, cannot_read
from train_embedding.messages import NOTHING, SPACE, Message, joined, msg
from train_embedding.services.importing.companions import Companion, check_companion, max_size
from train_embedding.services.sidecars.files import find_owners, find_sidecars

Source = Path | tuple[str, bytes]
"A path, or the name and the content of an upload."
_Place = tuple[Path | None, str]
"The folder and the name of a source; the folder of an upload is None."


@dataclass(frozen=True)
class IncomingFile:
    """A file to import, which may be an embedding."""

    file: str
    "Its original name."
    data: bytes = b""
    companions: tuple[Companion, ...] = ()
    note: Message = NOTHING
    "Which companions are imported and which are not, and what was changed."
    problem: Message = NOTHING
    "Why it cannot be imported; empty if it can."
    folder: Path | None = None
    "The folder of its source, if that may be read; None for an upload."
    path: Path | None = None
    "Where it was written; None before that, and if it cannot be imported."


def read_sources(sources: Sequence[Source], allowed: Sequence[Path] | None) -> list[IncomingFile]:
    """Read files with their companions.

    Args:
        sources: Paths and uploads. The companions of a path are the files next to it, those of an upload are uploaded with it.
        allowed: The folders that a shared server may read; None for all.

    Returns:
        The sources in their order, without those that are companions of another one.
    """
    places = [_place(source) for source in sources]
    companions = _companions_among(places)
    taken = {place for found in companions.values() for place in found}
    uploads = {(None, source[0]): source for source in sources if not isinstance(source, Path)}
    return [
        _read_path(source, allowed)
        if isinstance(source, Path)
        else _with_companions(IncomingFile(*source), [uploads[None, name] for _, name in companions.get(place, ())])
        for source, place in zip(sources, places, strict=True)
        if place not in taken
    ]


def read_upload(name: str, file: Path) -> tuple[str, bytes]:
    """Read an uploaded file as a source.

    Args:
        name: The name under which it was uploaded.
        file: The temporary file on the server. At most one byte more than the size limit is read.
    """
    from train_embedding.embeddings.formats import MAX_FILE_SIZE

    return name, read_regular_file(file, MAX_FILE_SIZE)


def _place(source: Source) -> _Place:
    return (source.parent, source.name) if isinstance(source, Path) else (None, source[0])


def _companions_among(places: Iterable[_Place]) -> dict[_Place, list[_Place]]:
    """Find the places of embeddings, each with the places of its companions."""
    names: dict[Path | None, list[str]] = {}
    for folder, name in places:
        names.setdefault(folder, []).append(name)
    found: dict[_Place, list[_Place]] = {}
    for folder, together in names.items():
        for name, owner in find_owners(together).items():
            if max_size(name):
                found.setdefault((folder, owner), []).append((folder, name))
    return found


def _read_path(source: Path, allowed: Sequence[Path] | None) -> IncomingFile:
    from train_embedding.embeddings.formats import MAX_FILE_SIZE

    incoming = IncomingFile(source.name)
    try:
        path = resolve_allowed(_expand(source), allowed, shown=str(source))
        incoming = replace(incoming, data=_content(path, str(source), MAX_FILE_SIZE))
    except TrainEmbeddingError as error:
        return replace(incoming, problem=error.text)
    try:
        folder = resolve_allowed(_expand(source.parent), allowed)
    except (InvalidInput, NotAllowed):  # the file is a link into an allowed folder
        return incoming
    try:
        found = [(path.name, path) for path in find_sidecars(folder / source.name) if not path.is_symlink()]
    except OSError as error:
        return replace(incoming, note=cannot_read(folder, error))
    return _with_companions(replace(incoming, folder=folder), found)


def _expand(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError as error:  # a user that does not exist
        raise InvalidInput(msg('"{path}" is not a valid path: {reason}.', path=path, reason=str(error).rstrip("."))) from error


def _with_companions(incoming: IncomingFile, files: Iterable[tuple[str, Path | bytes]]) -> IncomingFile:
    """Add companions to a file.

    Args:
        incoming: The file.
        files: The names of its companions, and their contents or paths.
    """
    companions: list[Companion] = []
    imported: list[str] = []
    refused: list[Message] = []
    for name, content in files:
        if not (limit := max_size(name)):
            refused.append(msg('"{name}" was not imported: files of this type are not supported.', name=name))
            continue
        try:
            data = _content(content, name, limit) if isinstance(content, Path) else content
            companions.append(check_companion(incoming.file, name, data))
            imported.append(f'"{name}"')
        except UnreadableFile as error:
            refused.append(msg('"{name}" was not imported. {reason}', name=name, reason=error.message))
    notes = [msg("Imported with it: {files}.", files=joined(imported))] if imported else []
    return replace(incoming, companions=tuple(companions), note=joined((*notes, *refused), SPACE))


def _content(path: Path, shown: str, limit: int) -> bytes:
    """Read a file, at most one byte more than the limit. Raises NotFound, UnreadableFile."""
    try:
        return read_regular_file(path, limit)
    except FileNotFoundError as error:
        raise NotFound(msg('The file "{file}" does not exist.', file=shown)) from error
    except NotRegularFile as error:
        raise UnreadableFile(cannot_read(shown, error), msg("To import a folder, give the paths of its files.")) from error
    except OSError as error:
        raise UnreadableFile(cannot_read(shown, error)) from error
