"""The embeddings there are: creating, listing, reading and saving them."""

from __future__ import annotations

import builtins
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.names import check_name, path_for, warnings_for_name
from train_embedding.errors import Conflict, InvalidInput, InvalidName, NotFound, UnreadableFile
from train_embedding.hosts.base import Host
from train_embedding.services.entries import Entry, entries_of
from train_embedding.services.initial import (
    MAX_VECTORS,
    automatic,
    checked_start,
    checked_text,
    initial_vectors,
    source_tokens,
    vector_count,
)
from train_embedding.services.listing import Listing, embedding_files, link_problem
from train_embedding.services.trash import replacing

__all__ = ["Budget", "Created", "Entry", "Library"]

NEW_SUFFIXES = (".pt", ".safetensors")


@dataclass(frozen=True)
class Created:
    """A new embedding. tokens: how many the text has; notes: sentences that whoever made it should read."""

    entry: Entry
    tokens: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Budget:
    """What an embedding takes of a prompt. tokens: of the text; vectors: tokens that the embedding will take."""

    tokens: int
    vectors: int
    limit: int = MAX_VECTORS


class Library:
    """Use cases about embeddings. Safe to call from any thread.

    An overwritten file is kept in `trash_folder` under its name and the time, such as `sword.20261122-143000.pt`.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._listing = Listing()
        self._lock = threading.RLock()

    @property
    def trash_folder(self) -> Path:
        """Beside the host's runs folder, so that it never lies where a host looks for embeddings."""
        return self._host.info().runs_folder.parent / "trash"

    def create(
        self,
        name: str,
        init_text: str = "",
        vectors: int | str = "auto",
        overwrite: bool = False,
        suffix: str = ".pt",
        start: str = "tokens",
    ) -> Created:
        """Makes an embedding of the text's token embeddings, before the transformer, as the WebUI does, or as `start` says.

        vectors: 1…75, or "auto" for as many as the text has tokens. start: one of `services.initial.STARTS`. Raises InvalidName,
        InvalidInput, Conflict where the name is taken and `overwrite` is not given or the embedding to start from is for another
        model, NotFound and UnreadableFile for that one, HostFailed without a checkpoint, StorageFailed.
        """
        check_name(name)
        checked_start(start)
        wanted = vector_count(vectors)
        text = checked_text(init_text)
        if suffix not in NEW_SUFFIXES:
            raise InvalidInput(f'A new embedding cannot be a "{suffix}" file.', f"Use {' or '.join(NEW_SUFFIXES)}.")
        folder = self._host.info().embeddings_folder
        existing = self._files_named(name)
        if existing and not overwrite:
            raise _taken(name)
        file = path_for(existing[-1].parent if existing else folder, name, suffix)
        others = {path.stem for path in embedding_files(folder)}
        initial = initial_vectors(self._host, text, wanted, start, self.read)
        entry = self.save(Embedding(name, initial.vectors, step=0), file=file, overwrite=overwrite)
        return Created(entry, initial.tokens, (*initial.notes, *warnings_for_name(name, others, _is_one_token)))

    def list(self) -> builtins.list[Entry]:
        """Every embedding file, sorted by name. One that cannot be read stands there with the reason."""
        info = self._host.info()
        entries = entries_of(self._listing.scan(info.embeddings_folder), info, self._host.loaded_embeddings())
        return sorted(entries, key=lambda entry: (entry.name.casefold(), entry.name, str(entry.file)))

    def get(self, name: str) -> Entry:
        """The embedding of that name: of several files the one in use, or else one that can be read. Raises NotFound."""
        named = [entry for entry in self.list() if entry.name == name]
        if not named:
            raise NotFound(f'There is no embedding "{name}".')
        return max(named, key=lambda entry: (entry.loaded, entry.vectors > 0))

    def read(self, name: str) -> Embedding:
        """The vectors and where they come from. Raises NotFound, UnreadableFile."""
        from train_embedding.embeddings.formats import read_embedding

        entry = self.get(name)
        if not entry.vectors:
            raise UnreadableFile(entry.reason)
        return read_embedding(entry.file)

    def save(self, embedding: Embedding, *, file: Path | None = None, overwrite: bool = True) -> Entry:
        """Writes an embedding into the embeddings folder and makes the host read it.

        file: where; left out, the file in use under that name, or else a new `.pt`. Whatever has the name already goes
        to the trash folder first. Raises InvalidName, InvalidInput, Conflict without `overwrite`, StorageFailed; then
        the old file stands as it was.
        """
        from train_embedding.embeddings.formats import write_embedding

        with self._lock:
            existing = self._files_named(embedding.name)
            if existing and not overwrite:
                raise _taken(embedding.name)
            target = self._target(embedding.name, file, existing)
            with replacing(existing, target, self.trash_folder):
                write_embedding(embedding, target)
        self._host.reload_embeddings()
        return self.get(embedding.name)

    def budget(self, init_text: str, vectors: int | str, start: str = "tokens") -> Budget:
        """How many tokens the text has, and how many an embedding made of it would take. Raises what `create` raises."""
        tokens = source_tokens(checked_text(init_text), checked_start(start), self.read)
        return Budget(tokens, vector_count(vectors) or automatic(tokens))

    def reload(self) -> builtins.list[Entry]:
        """Makes the host read its embeddings again, then lists them."""
        self._host.reload_embeddings()
        return self.list()

    def _files_named(self, name: str) -> builtins.list[Path]:
        """Every embedding file of that name, the one in use last. Raises InvalidName where a link leads outside."""
        folder = self._host.info().embeddings_folder
        paths = [path for path in embedding_files(folder) if _has_name(path, name)]
        for path in paths:
            problem = link_problem(path, folder.resolve())
            if problem:
                raise InvalidName(problem, "Choose another name, or remove the link.")
        if len(paths) > 1:
            used = self.get(name).file
            paths.sort(key=lambda path: path == used)
        return paths

    def _target(self, name: str, file: Path | None, existing: Sequence[Path]) -> Path:
        """Where to write, spelled as lists spell it."""
        folder = self._host.info().embeddings_folder
        if file is None:
            return existing[-1] if existing else path_for(folder, name, NEW_SUFFIXES[0])
        if file.stem != name:
            raise InvalidInput(f'An embedding named "{name}" cannot be saved as "{file.name}": its file\'s name calls it.')
        real = (file if file.is_relative_to(folder) else folder / file).parent.resolve()
        if not real.is_relative_to(folder.resolve()):
            raise InvalidInput(f'"{file}" lies outside the embeddings folder.')
        target = folder / real.relative_to(folder.resolve()) / file.name
        return target if target in existing else path_for(target.parent, name, file.suffix)


def _has_name(path: Path, name: str) -> bool:
    if path.stem == name:
        return True
    # Where the file system does not tell cases apart, writing "art.pt" would overwrite "Art.pt".
    other = path.with_name(f"{name}{path.suffix}")
    return path.stem.casefold() == name.casefold() and other.exists() and other.samefile(path)


def _is_one_token(text: str) -> bool:
    from train_embedding.engine.tokenizer import token_ids

    return len(token_ids(text)) == 1


def _taken(name: str) -> Conflict:
    return Conflict(f'There is an embedding "{name}" already.', "Choose another name, or allow it to be overwritten.")
