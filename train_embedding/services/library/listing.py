"""The catalog of the embeddings folder. Each file is read again only if it has changed."""

from __future__ import annotations

import json
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

from train_embedding.embeddings.names import composed, folded
from train_embedding.services.library.file_summary import (
    NO_NOTES_FILE,
    NOT_READ,
    FileSummary,
    NotesFile,
    notes_from_json,
    read_notes,
    read_text,
    summarize,
    summary_from_json,
    text_from_json,
    to_record,
    unreadable_notes,
    unreadable_text,
)
from train_embedding.services.library.index import Index, Known
from train_embedding.services.sidecars.files import NOTES_SUFFIX, TEXT_SUFFIX
from train_embedding.services.store.scan import ScannedFile, ScannedFolder, scan_files, scan_folders

SETTLED_SECONDS = 0.05
"A file that changed less than this before it was read may change again within one tick of the file system's clock."

_T = TypeVar("_T")
"A dataclass of plain values."


@dataclass(frozen=True, slots=True)
class ListedFile:
    """An embedding file with its summary and notes."""

    path: Path
    name: str
    "The file's stem, or the whole name of a folder."
    folder: str
    'The folder below the embeddings folder, such as "styles/old"; empty for the embeddings folder itself.'
    summary: FileSummary
    size: int
    "Bytes."
    modified: float
    "Seconds since 1970."
    sidecars: tuple[str, ...]
    notes: NotesFile

    @property
    def relative_path(self) -> str:
        """The path below the embeddings folder, with slashes."""
        return f"{self.folder}/{self.path.name}".lstrip("/")


@dataclass(frozen=True, slots=True)
class ListedFolder:
    """A folder of a catalog."""

    scanned: ScannedFolder
    stamp: str
    "Empty if the folder may have changed since the scan without its stamp showing that."
    files: tuple[ListedFile, ...]


class Catalog:
    """All embedding files at one time, in the order in which the WebUI reads them."""

    def __init__(self, root: Path, folders: Sequence[ListedFolder]) -> None:
        self.root = root
        self.folders = folders
        self.files = tuple(file for folder in folders for file in folder.files)

    @cached_property
    def by_name(self) -> Mapping[str, Sequence[ListedFile]]:
        """The files that can be read."""
        return _grouped(self._readable, lambda file: file.name)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the files that can be read, sorted."""
        return tuple(sorted(self.by_name))

    @cached_property
    def by_spelling(self) -> Mapping[str, Sequence[ListedFile]]:
        """The files that can be read, by name with accents composed."""
        return _grouped(self._readable, lambda file: composed(file.name))

    @cached_property
    def by_vectors(self) -> Mapping[str, Sequence[ListedFile]]:
        """The files that can be read, by fingerprint."""
        return _grouped(self._readable, lambda file: file.summary.fingerprint)

    def alike(self, name: str) -> Sequence[ListedFile]:
        """Return the files with a name in any case and Unicode form, also those that cannot be read."""
        return self._by_folded_name.get(folded(name), ())

    def concerning(self, name: str) -> list[ListedFile]:
        """Return the files that the entries of a name depend on: those with the name, and those with the same vectors."""
        named = self.alike(name)
        twins = (twin for file in named for twin in self.by_vectors.get(file.summary.fingerprint, ()))
        return [*named, *(twin for twin in twins if twin not in named)]

    @property
    def _readable(self) -> Iterable[ListedFile]:
        return (file for file in self.files if not file.summary.problem)

    @cached_property
    def _by_folded_name(self) -> Mapping[str, Sequence[ListedFile]]:
        return _grouped(self.files, lambda file: folded(file.name))


class Listing:
    """Lists a folder, with a cache in memory and an index on the disk. Safe to call from any thread.

    The index keeps only values of files that could be read; other files are read again by each process.

    Args:
        index: A function that returns the index.
    """

    def __init__(self, index: Callable[[], Index]) -> None:
        self._index = index
        self._lock = threading.Lock()
        self._stored: dict[str, Known] | None = None
        self._catalog: Catalog | None = None
        self._summaries = _FileCache(summarize, summary_from_json, lambda summary: not summary.problem)
        self._notes = _FileCache(read_notes, notes_from_json, lambda file: not file.problem)
        self._texts = _FileCache(read_text, text_from_json, lambda _file: True)

    def scan(self, root: Path) -> Catalog:
        """List every embedding file in a folder and below; only those that changed are opened."""
        with self._lock:
            return self._scan(root)

    def current(self, root: Path, name: str, *, expected: bool = False) -> Catalog:
        """Return a catalog that is up to date for one name, without listing the folder if nothing has changed.

        The last catalog is used again if no file was added, removed or renamed since, by the folders' time stamps, and no file
        changed that the entries of the name depend on.

        Args:
            root: The embeddings folder.
            name: The embedding, in any case and Unicode form.
            expected: Whether to list the folder if the name is not in the last catalog.
        """
        with self._lock:
            catalog = self._catalog
            if catalog is None or catalog.root != root or (expected and not catalog.alike(name)):
                return self._scan(root)
            if any(not folder.stamp or _folder_stamp(folder.scanned.path) != folder.stamp for folder in catalog.folders):
                return self._scan(root)
            return catalog if all(map(self._is_current, catalog.concerning(name))) else self._scan(root)

    def named(self, root: Path, name: str) -> Sequence[ListedFile]:
        """Return the files with a name in any case and Unicode form, from a catalog that is up to date for it."""
        return self.current(root, name).alike(name)

    def update(self, root: Path, paths: Iterable[Path]) -> Catalog:
        """Update the catalog for files that this process has changed, without listing the folder.

        Other processes may have changed files too, so the next `current` lists the folders of these files again.

        Args:
            root: The embeddings folder.
            paths: Files in it that were written, moved or removed.
        """
        changed: dict[Path, set[str]] = defaultdict(set)
        for path in paths:
            if path.is_relative_to(root):
                changed[path.parent].add(path.name)
        with self._lock:
            catalog = self._catalog
            if (
                catalog is None
                or catalog.root != root
                or not changed.keys() <= {folder.scanned.path for folder in catalog.folders}
            ):
                return self._scan(root)
            folders: list[ListedFolder] = []
            for folder in catalog.folders:
                updated = self._updated(folder, changed.get(folder.scanned.path, set()), root)
                if updated is None:
                    return self._scan(root)
                folders.append(updated)
            self._catalog = Catalog(root, folders)
            return self._catalog

    def _scan(self, root: Path) -> Catalog:
        if self._stored is None:
            self._stored = self._index().load()
        stored, start = self._stored, time.time_ns()
        folders = [
            ListedFolder(folder, _settled(folder.status, start), tuple(self._listed(file, stored) for file in folder.files))
            for folder in scan_folders(root)
        ]
        turned = [cache.turn_over() for cache in (self._summaries, self._notes, self._texts)]
        news = {path: known for changed, _ in turned for path, known in changed.items()}
        read = {path for _, seen in turned for path in seen}
        absolute = root.absolute()
        gone = {path for path in stored.keys() - read if Path(path).is_relative_to(absolute)}
        self._index().store(news, gone)
        stored.update(news)
        for path in gone:
            del stored[path]
        self._catalog = Catalog(root, folders)
        return self._catalog

    def _updated(self, folder: ListedFolder, names: set[str], root: Path) -> ListedFolder | None:
        """Return a folder after files with these names changed; None if only a scan can give the order of its files."""
        if not names:
            return folder
        scanned = folder.scanned
        every = (scanned.names - names) | {name for name in names if (scanned.path / name).is_file()}
        # The names of an embedding and its sidecars are the same up to the first dot.
        firsts = {name.split(".")[0] for name in names}
        near = [name for name in every if name.split(".")[0] in firsts]
        files = {file.path: self._listed(file, None) for file in scan_files(scanned, near, root)}
        if len({file.name for file in files.values()}) < len(files):
            return None
        kept = [
            files.pop(file.path, None) if file.path.name in scanned.names and file.path.name.split(".")[0] in firsts else file
            for file in folder.files
        ]
        together = (*(file for file in kept if file is not None), *files.values())
        return ListedFolder(replace(scanned, names=frozenset(every)), "", together)

    def _listed(self, scanned: ScannedFile, stored: Mapping[str, Known] | None) -> ListedFile:
        """Read a file, or take its values from the caches.

        Args:
            scanned: The file.
            stored: The values of the index; None between two scans.
        """
        notes = NO_NOTES_FILE
        name, text = (f"{scanned.name}{suffix}" for suffix in (NOTES_SUFFIX, TEXT_SUFFIX))
        if name in scanned.sidecars:
            notes = self._read(self._notes, scanned.path.with_name(name), stored, unreadable_notes)
        if text in scanned.sidecars and not notes.described:
            description = self._read(self._texts, scanned.path.with_name(text), stored, unreadable_text).text
            notes = replace(notes, notes=replace(notes.notes, description=description))
        status, summary, size, modified = scanned.status, FileSummary(problem=scanned.problem, unsafe_reason=NOT_READ), 0, 0.0
        if status is not None:
            size, modified = status.st_size, status.st_mtime
            cache = self._summaries
            summary = cache.look(scanned.path, status) if stored is None else cache.get(scanned.path, status, stored)
        return ListedFile(scanned.path, scanned.name, scanned.folder, summary, size, modified, scanned.sidecars, notes)

    @staticmethod
    def _read(
        cache: _FileCache[_T], path: Path, stored: Mapping[str, Known] | None, unreadable: Callable[[Path, OSError], _T]
    ) -> _T:
        try:
            status = path.stat()
        except OSError as error:
            return unreadable(path, error)
        return cache.look(path, status) if stored is None else cache.get(path, status, stored)

    def _is_current(self, file: ListedFile) -> bool:
        notes, text = (file.path.with_name(f"{file.name}{suffix}") for suffix in (NOTES_SUFFIX, TEXT_SUFFIX))
        return (
            self._summaries.is_current(file.path)
            and (notes.name not in file.sidecars or self._notes.is_current(notes))
            and (text.name not in file.sidecars or file.notes.described or self._texts.is_current(text))
        )


class _FileCache(Generic[_T]):
    """Cache of per-file values, invalidated by mtime, ctime, size and inode. Not safe to call from several threads.

    Args:
        read: Reads the value of a file; never fails.
        decode: Converts JSON values of the index to a value; raises TypeError, ValueError or KeyError for anything else.
        keeps: Returns whether a value may be kept in the index.
    """

    def __init__(self, read: Callable[[Path], _T], decode: Callable[[Any], _T], keeps: Callable[[_T], bool]) -> None:
        self._read = read
        self._decode = decode
        self._keeps = keeps
        self._memory: dict[str, tuple[str, _T]] = {}
        self._seen: dict[str, tuple[str, _T]] = {}
        self._news: dict[str, Known] = {}

    def get(self, path: Path, status: os.stat_result, stored: Mapping[str, Known]) -> _T:
        """Return the current value of a file, and keep it.

        Args:
            path: The file.
            status: Its current status.
            stored: The values of the index, by path.
        """
        key, stamp = _key_of(path), _stamp_of(status)
        old_stamp, value = self._memory.get(key) or self._decoded(stored.get(key), stamp)
        if old_stamp != stamp or value is None:
            value = self._read(path)
            stamp = _settled(status, time.time_ns())
            if stamp and self._keeps(value):
                self._news[key] = (stamp, json.dumps(to_record(value)))
        self._seen[key] = (stamp, value)
        return value

    def look(self, path: Path, status: os.stat_result) -> _T:
        """Return the current value of a file without keeping it, between two scans."""
        stamp, value = self._memory.get(_key_of(path), ("", None))
        return value if value is not None and stamp == _stamp_of(status) else self._read(path)

    def is_current(self, path: Path) -> bool:
        """Whether a file has not changed since the last scan."""
        try:
            return self._memory.get(_key_of(path), ("", None))[0] == _stamp_of(path.stat())
        except OSError:
            return False

    def turn_over(self) -> tuple[dict[str, Known], set[str]]:
        """Drop all values that were not used since the last call.

        Returns:
            New values for the index, and the paths of all files that were used.
        """
        news, seen = self._news, self._seen
        self._memory, self._seen, self._news = seen, {}, {}
        return news, set(seen)

    def _decoded(self, known: Known | None, stamp: str) -> tuple[str, _T | None]:
        if known is None or known[0] != stamp:
            return "", None
        try:
            return stamp, self._decode(json.loads(known[1]))
        except (TypeError, ValueError, KeyError):  # damaged; the file is read again
            return "", None


def _key_of(path: Path) -> str:
    return str(path if path.is_absolute() else path.absolute())


def _stamp_of(status: os.stat_result) -> str:
    # The change time shows new permissions, the inode a file that was moved into place within one tick of the clock.
    return f"{status.st_mtime_ns} {status.st_ctime_ns} {status.st_size} {status.st_ino}"


def _folder_stamp(folder: Path) -> str:
    """Return the stamp of a folder, which changes when an entry is added, removed or renamed; empty if it cannot be read."""
    try:
        return _stamp_of(folder.stat())
    except OSError:
        return ""


def _settled(status: os.stat_result | None, now: int) -> str:
    """Return the stamp of a file or folder; empty if it may change again within one tick of the file system's clock."""
    if status is None or now - max(status.st_mtime_ns, status.st_ctime_ns) < SETTLED_SECONDS * 1e9:
        return ""
    return _stamp_of(status)


def _grouped(files: Iterable[ListedFile], key: Callable[[ListedFile], str]) -> Mapping[str, Sequence[ListedFile]]:
    groups: dict[str, list[ListedFile]] = defaultdict(list)
    for file in files:
        groups[key(file)].append(file)
    return dict(groups)
