"""Files on their way into the library, from paths and uploads: each embedding with what came beside it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from train_embedding.embeddings.regular_files import NotRegularFile, read_regular_file
from train_embedding.errors import InvalidInput, NotAllowed, NotFound, TrainEmbeddingError, UnreadableFile
from train_embedding.services.importing.companions import Beside, checked, limit_of
from train_embedding.services.sidecars.files import owners, sidecars_of

Source = Path | tuple[str, bytes]
"A path, or the name and the content of an upload."
_Place = tuple[Path | None, str]
"Of a source: its folder, None for an upload, and its name."


@dataclass(frozen=True)
class Arrival:
    """A file that may be an embedding, as it came."""

    file: str
    data: bytes = b""
    problem: str = ""
    "Why it cannot be had, a sentence; empty where it can."
    beside: tuple[Beside, ...] = ()
    note: str = ""
    "What came along, and what did not, in sentences."
    folder: Path | None = None
    "That it lies in, where that may be looked at; None for an upload."


def arrived(sources: Sequence[Source], allowed: tuple[Path, ...] | None) -> list[Arrival]:
    """The sources in their order, less those that belong to another one of them.

    What stands beside a file that is named by its path comes with it. allowed: the folders that a shared server may read, None
    for all.
    """
    places = [_place(source) for source in sources]
    along = _along(places)
    taken = {one for those in along.values() for one in those}
    uploads = {(None, source[0]): source for source in sources if not isinstance(source, Path)}
    return [
        _from_path(source, allowed)
        if isinstance(source, Path)
        else _arrival(*source, [uploads[None, name] for _, name in along.get(place, ())])
        for source, place in zip(sources, places, strict=True)
        if place not in taken
    ]


def upload(name: str, file: Path) -> tuple[str, bytes]:
    """A file that was uploaded under that name, as a source: as much of it as tells that it is too large."""
    from train_embedding.embeddings.formats import MAX_FILE_SIZE

    return name, read_regular_file(file, MAX_FILE_SIZE)


def _place(source: Source) -> _Place:
    return (source.parent, source.name) if isinstance(source, Path) else (None, source[0])


def _along(places: Iterable[_Place]) -> dict[_Place, list[_Place]]:
    """Of the places, those of embeddings, each with those of what can come along with it."""
    names: dict[Path | None, list[str]] = {}
    for folder, name in places:
        names.setdefault(folder, []).append(name)
    found: dict[_Place, list[_Place]] = {}
    for folder, together in names.items():
        for name, owner in owners(together).items():
            if limit_of(name):
                found.setdefault((folder, owner), []).append((folder, name))
    return found


def _from_path(source: Path, allowed: tuple[Path, ...] | None) -> Arrival:
    from train_embedding.embeddings.formats import MAX_FILE_SIZE

    try:
        path = _resolved(source)
        # Asked first: on a shared server nobody shall find out which files exist elsewhere.
        if not _is_allowed(path, allowed):
            raise NotAllowed(
                f'"{source}" lies outside the folders that may be used on this server.',
                f"Allowed are {', '.join(map(str, allowed))}." if allowed else "",
            )
        data = _content(path, str(source), MAX_FILE_SIZE)
    except TrainEmbeddingError as error:
        return Arrival(source.name, problem=str(error))
    try:
        arrival = _arrival(source.name, data, _files_beside(source, allowed))
        folder = _resolved(source.parent)
        return replace(arrival, folder=folder if _is_allowed(folder, allowed) else None)
    except OSError as error:
        return Arrival(source.name, data, note=f"What stands beside it cannot be listed: {error.strerror or error}.")


def _files_beside(source: Path, allowed: tuple[Path, ...] | None) -> list[tuple[str, Path]]:
    """What stands beside a file and can come along, where that may be read; links are left out. Raises OSError."""
    file = _resolved(source.parent) / source.name
    if not _is_allowed(file.parent, allowed):
        return []
    return [(path.name, path) for path in sidecars_of(file) if not path.is_symlink()]


def _arrival(file: str, data: bytes, files: Iterable[tuple[str, Path | bytes]]) -> Arrival:
    """files: what may come along, by name: contents, or where these stand."""
    beside: list[Beside] = []
    came: list[str] = []
    left: list[str] = []
    for name, content in files:
        if not limit_of(name):
            left.append(f'"{name}" was not imported: files of its kind stay where they are.')
            continue
        try:
            found = _content(content, name, limit_of(name)) if isinstance(content, Path) else content
            beside.append(checked(file, name, found))
            came.append(f'"{name}"')
        except UnreadableFile as error:
            left.append(f'"{name}" did not come along. {error.message}')
    along = [f"{', '.join(came)} came along."] if came else []
    return Arrival(file, data, beside=tuple(beside), note=" ".join((*along, *left)))


def _content(path: Path, called: str, limit: int) -> bytes:
    """At most one byte more than the limit. Raises NotFound, UnreadableFile."""
    try:
        return read_regular_file(path, limit)
    except FileNotFoundError as error:
        raise NotFound(f'There is no file "{called}".') from error
    except NotRegularFile as error:
        raise UnreadableFile(f'"{called}" is not a regular file.', "Name the files in a folder one by one.") from error
    except OSError as error:
        raise UnreadableFile(f'"{called}" cannot be read: {error.strerror or error}.') from error


def _is_allowed(path: Path, allowed: tuple[Path, ...] | None) -> bool:
    return allowed is None or any(path.is_relative_to(folder.resolve()) for folder in allowed)


def _resolved(path: Path) -> Path:
    try:
        return path.expanduser().resolve()
    except (ValueError, RuntimeError, OSError) as error:
        raise InvalidInput(f'"{path}" does not name a file: {error}.') from error
