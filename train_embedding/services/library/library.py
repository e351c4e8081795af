"""The embeddings in the host's folder: create, list, read, save, rename, copy, delete, import and export them."""

from __future__ import annotations

import builtins
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.names import check_name, did_you_mean, folded, is_spelled_like, path_for
from train_embedding.errors import Conflict, InvalidInput, NotFound, StorageFailed, TrainEmbeddingError, UnreadableFile
from train_embedding.hosts.base import EmbeddingFile, Host
from train_embedding.services.formats import SUFFIXES, format_for, with_new_name
from train_embedding.services.importing.host_compatibility import HostFile
from train_embedding.services.importing.importing import prepare_import
from train_embedding.services.importing.sources import IncomingFile
from train_embedding.services.library import sanitize
from train_embedding.services.library.create import Budget, Created, budget_of, check_request, make_embedding
from train_embedding.services.library.entries import Entry, Imported, make_entries
from train_embedding.services.library.export import Exported, Wanted, Written, make_export, write_export
from train_embedding.services.library.index import FILE_NAME, Index
from train_embedding.services.library.listing import Catalog, ListedFile, Listing
from train_embedding.services.library.warnings import warnings_for_new_name
from train_embedding.services.sidecars import preview as preview_picture
from train_embedding.services.sidecars.files import NOTES_SUFFIX, TEXT_SUFFIX, may_be_opened
from train_embedding.services.sidecars.notes import check_changes, edit_notes_file, read_description, read_notes_file
from train_embedding.services.sidecars.untrusted_images import check_preview
from train_embedding.services.store.paths import check_inside, resolve_folder
from train_embedding.services.store.store import NEW_SUFFIX, EmbeddingFiles, EmbeddingStore, StoreTransaction
from train_embedding.services.store.trash import Trashed

__all__ = ["Budget", "Created", "Entry", "Imported", "Library", "Trashed"]


class Library:
    """The embeddings of a host. Safe to use from any thread, and from several processes.

    Embeddings are given by name; if several files have the name, the one in use is meant, or the one at the path `file` below the
    embeddings folder. Whatever is deleted or overwritten is kept in the trash. Each change includes what belongs to the
    embedding, happens completely or not at all, and is known to the host when the method returns. Besides the errors named,
    changes raise StorageFailed.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._store = EmbeddingStore(host)
        self._listing = Listing(lambda: Index(self._store.own_folder / FILE_NAME))

    @property
    def trash_folder(self) -> Path:
        return self._store.trash.folder

    def create(
        self,
        name: str,
        init_text: str = "",
        vectors: int | str = "auto",
        overwrite: bool = False,
        suffix: str = NEW_SUFFIX,
        start: str = "tokens",
    ) -> Created:
        """Create an embedding from the token embeddings of a text, as the WebUI does, or as `start` says.

        Args:
            name: The embedding.
            init_text: The text, or the name of an embedding to start from.
            vectors: 1 to 75, or "auto" for as many as the text has tokens.
            overwrite: Whether to replace an embedding of that name, which goes to the trash.
            suffix: Of the file.
            start: One of `STARTS`.

        Raises:
            InvalidName: The name cannot be used.
            InvalidInput: Another argument cannot be used.
            Conflict: The name is taken and `overwrite` is not given, or the embedding to start from is for another model.
            NotFound: There is no embedding to start from.
            UnreadableFile: The embedding to start from cannot be read.
            HostFailed: No checkpoint is loaded.
        """
        request = check_request(name, init_text, vectors, suffix, start)
        self.check_free(name, overwrite)
        file = self.place(name, suffix)
        new = make_embedding(self._host, request, self.read)
        notes = (*new.notes, *self.warnings_for_name(name))
        return Created(self.save(new.embedding, file=file, overwrite=overwrite), new.tokens, notes)

    def budget(self, init_text: str, vectors: int | str, start: str = "tokens") -> Budget:
        """Return how many tokens a text has, and how many an embedding made of it would take. Raises what `create` raises."""
        return budget_of(init_text, vectors, start, self.read)

    def list(self) -> builtins.list[Entry]:
        """List every embedding file, sorted by name. A file that cannot be read is listed with the reason."""
        self._store.recover()
        catalog = self._listing.scan(self._store.root)
        return self._entries(catalog.files, catalog)

    def files(self) -> builtins.list[EmbeddingFile]:
        """Return what is known of every embedding file, in the order of the WebUI; only files that changed are opened."""
        catalog = self._listing.scan(self._store.root)
        return [
            EmbeddingFile(file.path, file.summary.widths, file.summary.vectors, file.summary.problem) for file in catalog.files
        ]

    def reload(self) -> builtins.list[Entry]:
        """Make the host read its embeddings again, and list them."""
        self._host.reload_embeddings()
        return self.list()

    def get(self, name: str, file: str = "") -> Entry:
        """Return the embedding of a name: of several files the one in use, or else one that can be read.

        As in a prompt, accents may be composed or not. If both are names, the one that is spelled alike is meant.

        Raises:
            NotFound: There is none.
        """
        return self._find(name, file)[0]

    def at(self, path: str) -> Entry:
        """Return the embedding at a path below the embeddings folder, as `Entry.path` gives it. Raises NotFound."""
        return self.get(Path(path).stem, path)

    def read(self, name: str, file: str = "") -> Embedding:
        """Read the vectors and their metadata. Raises NotFound, UnreadableFile."""
        from train_embedding.embeddings.formats import read_embedding

        entry = self.get(name, file)
        if not entry.vectors:
            raise UnreadableFile(entry.reason)
        return read_embedding(entry.file)

    def save(self, embedding: Embedding, *, file: Path | None = None, overwrite: bool = True, by_run: bool = False) -> Entry:
        """Write an embedding into the embeddings folder; a file that has the name already goes to the trash.

        If a file of the name is for the same model, those for other models stay: a host uses each with its own checkpoint.

        Args:
            embedding: What to write, under its name.
            file: Where; if None, the file in use under that name, or else a new `.pt`.
            overwrite: Whether to replace an embedding of that name.
            by_run: Whether the run that trains the embedding saves it. Nobody else may, meanwhile.

        Raises:
            InvalidName: The name cannot be used.
            InvalidInput: The file cannot be used.
            Conflict: The name is taken and `overwrite` is not given, or the embedding is being trained.
        """
        from train_embedding.embeddings.formats import encode

        with self._store.transaction() as transaction:
            replaced = [listed.path for listed in self._replaced_by(embedding)]
            self._check_replaceable(embedding.name, replaced, overwrite=overwrite, by_run=by_run)
            target = self._target(embedding.name, file, replaced)
            data = encode(embedding, format_for(target.suffix), target.suffix.lower())
            transaction.write(target, data, replaced=replaced, overwrite=overwrite)
            catalog = self._updated(transaction)
        return self._reloaded(target, catalog)

    def check_free(self, name: str, overwrite: bool = False) -> None:
        """Raise InvalidName and Conflict if `save` would, before something is made that takes long."""
        check_name(name)
        self._check_replaceable(name, [file.path for file in self._files_named(name)], overwrite=overwrite)

    def place(self, name: str, suffix: str, folder: str = "") -> Path:
        """Return where a file of a name belongs: next to the file that has the name, or else in a folder.

        Args:
            name: The embedding.
            suffix: Of the file.
            folder: For a new name, relative to the embeddings folder.

        Raises:
            InvalidName: The name cannot be used.
            InvalidInput: The folder is outside.
        """
        existing, root = self._files_named(name), self._store.root
        parent = existing[-1].path.parent if existing else resolve_folder(root / folder, root)
        return path_for(parent, name, suffix)

    def warnings_for_name(self, name: str) -> builtins.list[str]:
        """Return sentences about a name that collides with others, or that some programs cannot use in a prompt."""
        return warnings_for_new_name(name, {file.name for file in self._listing.current(self._store.root, name).files} - {name})

    def rename(self, name: str, new_name: str, file: str = "") -> Entry:
        """Rename an embedding; an image that holds its name gets the new one inside.

        Raises:
            InvalidName: The new name cannot be used.
            NotFound: There is no such embedding.
            Conflict: The new name is taken, or the embedding is being trained.
            UnreadableFile: It is an image that holds its name, of a kind that cannot be written.
        """
        return self.change(name, file, new_name=new_name)

    def change(
        self,
        name: str,
        file: str = "",
        *,
        new_name: str | None = None,
        notes: Mapping[str, object] | None = None,
        preview: bytes | None = None,
    ) -> Entry:
        """Rename an embedding, change its notes and set its preview: all that is given, or nothing.

        Raises what `rename`, `set_notes` and `set_preview` raise.
        """
        note_changes = check_changes(notes or {})
        preview_suffix = "" if preview is None else check_preview(preview)
        with self._store.transaction() as transaction:
            entry, catalog = self._find(name, file)
            files, target = _files_of(entry, catalog), entry.file
            sidecars: builtins.list[tuple[Path, bytes]] = []
            if note_changes and (data := self._changed_notes(entry.file, note_changes)) is not None:
                sidecars.append(data)
            if preview is not None:
                path = entry.file.with_name(f"{entry.name}.preview{preview_suffix}")
                check_inside(path, self._store.root)
                sidecars.append((path, preview))
            if new_name is None:
                transaction.write_sidecars(files, sidecars)
            else:
                target, data_within = self._prepare_new_name(transaction, entry, new_name)
                transaction.rename(files, target, data_within, sidecars)
            catalog = self._updated(transaction)
        return self._entry(target, catalog) if new_name is None else self._reloaded(target, catalog)

    def copy(self, name: str, new_name: str, file: str = "") -> Entry:
        """Copy an embedding with what belongs to it. Raises what `rename` raises, except that it may be in training."""
        with self._store.transaction() as transaction:
            entry, catalog = self._find(name, file)
            target = path_for(entry.file.parent, new_name, entry.file.suffix)
            transaction.check_exists(entry.file)
            self._check_name_free(new_name)
            transaction.copy(_files_of(entry, catalog), target, with_new_name(entry.file, new_name))
            catalog = self._updated(transaction)
        return self._reloaded(target, catalog)

    def delete(self, name: str, file: str = "", permanently: bool = False) -> None:
        """Move an embedding to the trash, or delete it.

        Raises:
            NotFound: There is no such embedding.
            InvalidName: It is a link that leads outside.
            Conflict: It is being trained.
        """
        with self._store.transaction() as transaction:
            entry, catalog = self._find(name, file)
            transaction.delete(_files_of(entry, catalog), permanently=permanently)
            self._updated(transaction)
        self._host.reload_embeddings()

    def sanitize(self, name: str, file: str = "") -> Entry:
        """Replace an unsafe file by one with the same vectors and nothing else; the old file goes to the trash.

        Raises:
            NotFound: There is no such embedding.
            Conflict: The file is not unsafe, or the embedding is being trained.
            UnreadableFile: No vectors can be read.
        """
        with self._store.transaction() as transaction:
            entry, _ = self._find(name, file)
            transaction.check_free_to_move(entry.file)
            transaction.rewrite(entry.file, sanitize.sanitized_bytes(entry, entry.file.suffix))
            catalog = self._updated(transaction)
        return self._reloaded(entry.file, catalog)

    def trashed(self) -> builtins.list[Trashed]:
        """List the items in the trash, the newest first."""
        self._store.recover()
        return self._store.trash.list()

    def restore(self, trash_id: str) -> builtins.list[Entry]:
        """Move an item of the trash back to where it was.

        Raises:
            NotFound: There is no such item.
            Conflict: A file is in the way, the name is taken, or the host would run what an unsafe file imports.
        """
        info, trash = self._host.info(), self._store.trash
        if info.runs_pickles:
            sanitize.refuse_unsafe(trash.paths(trash.get(trash_id)), info.name)
        with self._store.transaction() as transaction:
            item = trash.get(trash_id)
            for file in item.embeddings:
                self._check_name_free(Path(file).stem)
            restored = transaction.restore(item)
            catalog = self._updated(transaction)
        self._host.reload_embeddings()
        return self._entries([file for file in catalog.files if file.path in restored], catalog)

    def empty_trash(self) -> int:
        """Delete permanently what is in the trash, and return how many items that were."""
        return self._store.trash.empty()

    def set_notes(self, name: str, changes: Mapping[str, object], file: str = "") -> Entry:
        """Change fields of `Notes` in the embedding's `name.json`; keys of other programs are kept.

        Raises:
            NotFound: There is no such embedding.
            InvalidInput: There is no such field, or a value cannot be used.
            UnreadableFile: The file of that name does not hold notes.
        """
        return self.change(name, file, notes=changes)

    def set_preview(self, name: str, picture: bytes, file: str = "") -> Entry:
        """Make a PNG, JPEG, WebP or GIF image the embedding's preview. Raises NotFound, UnreadableFile."""
        return self.change(name, file, preview=picture)

    def preview_from_run(self, name: str, run_id: str, file: str = "") -> Entry:
        """Make the newest image that a run drew the embedding's preview. Raises NotFound, UnreadableFile."""
        return self.set_preview(name, self.last_preview(run_id), file)

    def last_preview(self, run_id: str) -> bytes:
        """The newest picture that a run drew. Raises NotFound, UnreadableFile."""
        return preview_picture.read_last_preview(self._host.info().runs_folder, run_id)

    def draw_preview(self, name: str, prompt: str = preview_picture.DEFAULT_PROMPT, file: str = "") -> Entry:
        """Has the host draw the preview; [name] in the prompt is the embedding. Raises what `read` does, Conflict, HostFailed."""
        return self.set_preview(name, self.drawn(name, prompt, file), file)

    def drawn(self, name: str, prompt: str = preview_picture.DEFAULT_PROMPT, file: str = "") -> bytes:
        """What `draw_preview` would set, as a PNG that lies nowhere yet."""
        return preview_picture.draw_preview(self._host, self.read(name, file), prompt)

    def preview(self, name: str, file: str = "") -> Path:
        """The file of the preview. Raises NotFound, also where it is a link to elsewhere."""
        preview = self.get(name, file).preview
        if preview is None:
            raise NotFound(f'The embedding "{name}" has no preview.')
        return preview

    def import_files(
        self, sources: Sequence[Path | tuple[str, bytes]], overwrite: bool = False, folder: str = "", name: str = ""
    ) -> builtins.list[Imported]:
        """Import files into a folder below the embeddings folder; each is read and checked first.

        Bytes are kept where hosts can read them; other files are converted.

        Args:
            sources: Paths, or names and contents of uploads. The two files that diffusers' example writes for SDXL's text
                encoders become one embedding.
            overwrite: Whether to replace embeddings of the same names, which go to the trash.
            folder: The folder to import to, relative to the embeddings folder.
            name: What to call the one embedding that the files hold; if empty, each is called as its file.

        Returns:
            What became of each embedding.

        Raises:
            InvalidName: The name cannot be used.
            InvalidInput: There is a name for several embeddings.
            StorageFailed: The disk refuses to take a file.
        """
        allowed = self._host.info().allowed_folders
        files = [
            file if ready is None else self._import(file, ready, overwrite, folder)
            for file, ready in prepare_import(sources, allowed, name)
        ]
        entries = {entry.file: entry for entry in self.reload()}
        return [
            Imported(file.file, None if file.path is None else entries.get(file.path), file.problem, file.note) for file in files
        ]

    def export(self, name: str, form: str = "", suffix: str = "", file: str = "", program: str = "") -> Exported:
        """File name and bytes, in one of `services.formats.SUFFIXES`; without a format, the file as it is.

        suffix: such as ".bin", where the format has several. program: one of `services.exporting.PROGRAMS`, which chooses the
        format, and a name that its prompts can call. Raises NotFound, UnreadableFile, InvalidInput.
        """
        return make_export(self.get(name, file).file, Wanted(form, suffix, program))

    def export_to(self, target: Path, name: str, wanted: Wanted, file: str = "", overwrite: bool = False) -> Written:
        """Writes an export to a file, whose suffix decides about its format, or into a folder that exists.

        Raises what `export` raises, InvalidInput for a suffix that contradicts what is wanted, Conflict, StorageFailed.
        """
        source = self.get(name, file).file
        return write_export(target, wanted, lambda wanted, stem: make_export(source, wanted, stem), source.suffix, overwrite)

    def lock_for_training(self, name: str) -> AbstractContextManager[None]:
        """Keep everybody else from replacing, renaming and deleting an embedding until exit. Raises Conflict if a run does so."""
        return self._store.lock_for_training(name)

    def is_being_trained(self, name: str) -> bool:
        """Whether a run trains the embedding, in this process or another."""
        return self._store.training_locks.is_locked(name)

    def _find(self, name: str, file: str) -> tuple[Entry, Catalog]:
        """The embedding of a name, as `get` describes it, and the catalog that it is from."""
        catalog = self._listing.current(self._store.root, name, expected=True)
        alike = [listed for listed in catalog.alike(name) if not file or listed.relative_path == file]
        named = [listed for listed in alike if listed.name == name]
        named = named or [listed for listed in alike if is_spelled_like(listed.name, name)]
        if not named:
            where = f" in the file {file!r}" if file else ""
            names = (listed.name for listed in catalog.files if not file or listed.relative_path == file)
            raise NotFound(f'No embedding named "{name}"{where}.', did_you_mean(name, names))
        return max(self._entries(named, catalog), key=lambda entry: (entry.loaded, entry.vectors > 0)), catalog

    def _files_named(self, name: str) -> builtins.list[ListedFile]:
        """Every file of a name, the one in use last. Raises InvalidName for a link that leads outside."""
        named = [file for file in self._listing.named(self._store.root, name) if _has_name(file.path, name)]
        for file in named:
            if file.path.is_symlink():
                check_inside(file.path, self._store.root)
        if len(named) > 1:
            used = self._find(name, "")[0].file
            named.sort(key=lambda file: file.path == used)
        return named

    def _replaced_by(self, embedding: Embedding) -> builtins.list[ListedFile]:
        """The files that an embedding replaces: all of its name, or only those for its model if there are such."""
        named = self._files_named(embedding.name)
        readable = [file for file in named if file.name == embedding.name and file.summary.vectors]
        others = [file for file in readable if file.summary.widths != embedding.widths]
        return [file for file in named if file not in others] if len(others) < len(readable) else named

    def _check_replaceable(self, name: str, existing: Sequence[Path], *, overwrite: bool, by_run: bool = False) -> None:
        if existing and not overwrite:
            raise _name_taken(name)
        if not by_run:
            self._store.training_locks.check_free(*dict.fromkeys([name, *(path.stem for path in existing)]))

    def _check_name_free(self, name: str, besides: Path | None = None) -> None:
        for file in self._files_named(name):
            # On file systems that ignore case, a file may get its own name in another case.
            if besides is None or file.path.name == f"{name}{besides.suffix}" or not file.path.samefile(besides):
                raise _name_taken(name)

    def _target(self, name: str, file: Path | None, replaced: Sequence[Path]) -> Path:
        """Where to write an embedding, spelled as lists spell it."""
        root = self._store.root
        if file is None:
            used = replaced[-1] if replaced else None
            # A format that can only be read is replaced by the usual one.
            if used is not None and any(used.suffix.lower() in suffixes for suffixes in SUFFIXES.values()):
                return used
            return path_for(root if used is None else used.parent, name, NEW_SUFFIX)
        if file.stem != name:
            raise InvalidInput(f'An embedding named "{name}" cannot be saved as "{file.name}": its file\'s name calls it.')
        target = resolve_folder((file if file.is_relative_to(root) else root / file).parent, root) / file.name
        return target if target in replaced else path_for(target.parent, name, file.suffix)

    def _import(self, file: IncomingFile, ready: HostFile, overwrite: bool, folder: str) -> IncomingFile:
        """Write a file that was read and checked."""
        try:
            with self._store.transaction() as transaction:
                place = self.place(ready.name, ready.suffix, folder)
                existing = [listed.path for listed in self._files_named(ready.name)]
                self._check_replaceable(ready.name, existing, overwrite=overwrite)
                target = self._target(ready.name, place, existing)
                sidecars = [(companion.path_beside(target), companion.data) for companion in file.companions]
                transaction.write(target, ready.data, replaced=existing, sidecars=sidecars, overwrite=overwrite)
                self._updated(transaction)
            return replace(file, path=target)
        except StorageFailed:
            raise
        except TrainEmbeddingError as error:
            return replace(file, problem=str(error))

    def _prepare_new_name(self, transaction: StoreTransaction, entry: Entry, new_name: str) -> tuple[Path, bytes | None]:
        """The path of an embedding under a new name, and what its file then holds, if that differs."""
        target = path_for(entry.file.parent, new_name, entry.file.suffix)
        transaction.check_free_to_move(entry.file)
        self._check_name_free(new_name, besides=entry.file)
        return target, None if target.exists() else with_new_name(entry.file, new_name)

    def _changed_notes(self, file: Path, changes: Mapping[str, object]) -> tuple[Path, bytes] | None:
        """The file of notes beside an embedding, and its content with changes; None if nothing changes."""
        path = file.with_name(f"{file.stem}{NOTES_SUFFIX}")
        check_inside(path, self._store.root)
        text = path.with_suffix(TEXT_SUFFIX)
        data = edit_notes_file(read_notes_file(path), changes, path.name, read_description(text) if may_be_opened(text) else "")
        return None if data is None else (path, data)

    def _updated(self, transaction: StoreTransaction) -> Catalog:
        return self._listing.update(self._store.root, transaction.changed)

    def _reloaded(self, file: Path, catalog: Catalog) -> Entry:
        self._host.reload_embeddings()
        return self._entry(file, catalog)

    def _entry(self, path: Path, catalog: Catalog) -> Entry:
        return self._entries([file for file in catalog.files if file.path == path], catalog)[0]

    def _entries(self, files: Sequence[ListedFile], catalog: Catalog) -> builtins.list[Entry]:
        """Entries of some files of a catalog, sorted by name."""
        entries = make_entries(files, catalog, self._host.info(), self._host.loaded_embeddings())
        return sorted(entries, key=lambda entry: (entry.name.casefold(), entry.name, str(entry.file)))


def _files_of(entry: Entry, catalog: Catalog) -> EmbeddingFiles:
    """The file of an entry, and what belongs to it."""
    others = (file.path for file in catalog.alike(entry.name) if file.name == entry.name and file.path != entry.file)
    shared = any(path.parent == entry.file.parent for path in others)
    return EmbeddingFiles(entry.file, tuple(entry.file.with_name(name) for name in entry.sidecars), shared)


def _has_name(path: Path, name: str) -> bool:
    if path.stem == name:
        return not path.is_dir()
    # On file systems that ignore case or Unicode forms, writing "art.pt" would overwrite "Art.pt".
    other = path.with_name(f"{name}{path.suffix}")
    return folded(path.stem) == folded(name) and other.exists() and other.samefile(path)


def _name_taken(name: str) -> Conflict:
    return Conflict(f'There is an embedding "{name}" already.', "Choose another name, or allow it to be overwritten.")
