"""The embeddings in the host's folder: create, list, read, save, rename, copy, delete, import and export them."""

from __future__ import annotations

import builtins
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.names import check_name, did_you_mean, folded, is_spelled_like, path_for
from train_embedding.errors import (
    Conflict,
    InvalidInput,
    NameTaken,
    NotFound,
    StorageFailed,
    TrainEmbeddingError,
    UnreadableFile,
)
from train_embedding.hosts.base import EmbeddingFile, Host
from train_embedding.messages import Message, joined, msg
from train_embedding.services.formats import SUFFIXES, format_for, with_new_name
from train_embedding.services.importing.host_compatibility import HostFile
from train_embedding.services.importing.importing import prepare_import
from train_embedding.services.importing.sources import IncomingFile
from train_embedding.services.library import restore as restoring
from train_embedding.services.library import sanitize
from train_embedding.services.library.create import Budget, Created, budget_of, check_request, make_embedding
from train_embedding.services.library.entries import Entry, Imported, make_entries
from train_embedding.services.library.export import (
    SHARES,
    Exported,
    Wanted,
    Written,
    make_export,
    make_share,
    write_export,
)
from train_embedding.services.library.index import FILE_NAME, Index
from train_embedding.services.library.listing import Catalog, ListedFile, Listing
from train_embedding.services.library.warnings import warnings_for_new_name
from train_embedding.services.sidecars import preview as preview_image
from train_embedding.services.sidecars.files import NOTES_SUFFIX, TEXT_SUFFIX, may_be_opened
from train_embedding.services.sidecars.notes import check_changes, edit_notes_file, read_description, read_notes_file
from train_embedding.services.sidecars.untrusted_images import check_preview
from train_embedding.services.store.paths import check_inside, resolve_folder
from train_embedding.services.store.store import EmbeddingFiles, EmbeddingStore, StoreTransaction
from train_embedding.services.store.trash import Placed, Trashed

__all__ = ["Budget", "Created", "Entry", "Imported", "Library", "Trashed"]

OVERWRITE = msg("Overwrite")
"The label of the option in front ends."
_WRITTEN = frozenset(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)
"Suffixes of files that can be written."


class Library:
    """The embeddings of a host. Safe to use from any thread, and from several processes.

    Methods take the name of an embedding. If several files have the name, they use the file that the host has loaded, or the one
    at `file`, a path below the embeddings folder. Deleted and overwritten files are kept in the trash. A change includes the
    sidecars of the embedding, is made completely or not at all, and the host has loaded the result when the method returns.
    Besides the documented errors, changes raise StorageFailed.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._store = EmbeddingStore(host)
        self._listing = Listing(lambda: Index(self._store.own_folder / FILE_NAME))
        self._on_rename: builtins.list[Callable[[str, str], object]] = []
        self._lock = threading.Lock()
        self.changes = 0
        "Number of changes by this object. It also rises when the embeddings are reloaded, since files may have changed."

    def call_on_rename(self, callback: Callable[[str, str], object]) -> None:
        """Have a function called with the old and the new name whenever an embedding was renamed and none has the old name."""
        self._on_rename.append(callback)

    @property
    def trash_folder(self) -> Path:
        """The folder of the trash."""
        return self._store.trash.folder

    def create(
        self,
        name: str,
        init_text: str = "",
        vectors: int | str = "auto",
        overwrite: bool = False,
        suffix: str = "",
        start: str = "tokens",
    ) -> Created:
        """Create an embedding, by default from the token embeddings of a text, as the WebUI does.

        Args:
            name: The name of the embedding, which is its trigger word.
            init_text: The init text, or the name of an embedding to start from.
            vectors: Number of vectors, 1 to 75, or "auto" for 2, or one per token of a longer text.
            overwrite: Whether to replace an embedding of that name, which goes to the trash.
            suffix: The suffix of the file; by default the one that the host prefers.
            start: One of `STARTS`.

        Raises:
            InvalidName: The name cannot be used.
            InvalidInput: Another argument cannot be used.
            Conflict: The name is taken and `overwrite` is not given, or the embedding to start from is for another model.
            NotFound: The embedding to start from does not exist.
            UnreadableFile: The embedding to start from cannot be read.
            HostFailed: No checkpoint is loaded.
        """
        suffix = suffix or self._new_suffix()
        request = check_request(name, init_text, vectors, suffix, start)
        self.check_loadable(suffix)
        self.check_free(name, overwrite)
        file = self.place(name, suffix)
        new = make_embedding(self._host, request, self.read)
        notes = (*new.notes, *self.warnings_for_name(name))
        return Created(self.save(new.embedding, file=file, overwrite=overwrite), new.tokens, notes)

    def budget(self, init_text: str, vectors: int | str, start: str = "tokens") -> Budget:
        """Return how many tokens a text has, and how many prompt tokens an embedding made from it would use.

        Args and errors are those of `create`.
        """
        return budget_of(init_text, vectors, start, self.read)

    def list(self) -> builtins.list[Entry]:
        """List every embedding file, sorted by name. A file that cannot be read is listed with the reason."""
        self._store.recover()
        catalog = self._listing.scan(self._store.root)
        return self._entries(catalog.files, catalog)

    def files(self) -> builtins.list[EmbeddingFile]:
        """Return the contents of every embedding file, in the order of the WebUI. Only files that changed are opened."""
        catalog = self._listing.scan(self._store.root)
        return [
            EmbeddingFile(file.path, file.summary.widths, file.summary.vectors, file.summary.problem) for file in catalog.files
        ]

    def reload(self) -> builtins.list[Entry]:
        """Make the host load its embeddings again, and list them."""
        self._reload()
        return self.list()

    def get(self, name: str, file: str = "") -> Entry:
        """Return the embedding with a name. Of several files, it is the one that is loaded, or else one that can be read.

        As in a prompt, accents may be composed or decomposed; an exact match takes precedence.

        Raises:
            NotFound: There is no such embedding.
        """
        return self._find(name, file)[0]

    def at(self, path: str) -> Entry:
        """Return the embedding at a path below the embeddings folder, as `Entry.path` gives it. Raises NotFound."""
        return self.get(Path(path).stem, path)

    def read(self, name: str, file: str = "") -> Embedding:
        """Read the vectors and the metadata of an embedding. Raises NotFound, UnreadableFile."""
        from train_embedding.embeddings.formats import read_embedding

        entry = self.get(name, file)
        if not entry.vectors:
            raise UnreadableFile(entry.reason)
        return read_embedding(entry.file)

    def save(self, embedding: Embedding, *, file: Path | None = None, overwrite: bool = True, by_run: bool = False) -> Entry:
        """Write an embedding to the embeddings folder; an existing file with the name goes to the trash.

        If a file with the name is for the same model, files for other models are kept: hosts use each with its own checkpoints.

        Args:
            embedding: The embedding.
            file: Where to write it; None for the loaded file with that name, or else a new file in the host's format.
            overwrite: Whether to replace an embedding with that name.
            by_run: Whether the run that trains the embedding saves it; nothing else may while it is being trained.

        Raises:
            InvalidName: The name cannot be used.
            InvalidInput: The file cannot be used for this name.
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
        """Fail early, before expensive work. Raises Conflict if the name is taken, InvalidName if it is invalid."""
        check_name(name)
        self._check_replaceable(name, [file.path for file in self._files_named(name)], overwrite=overwrite)

    def check_loadable(self, suffix: str) -> None:
        """Raise InvalidInput if the host does not load files with a suffix."""
        info = self._host.info()
        if suffix not in info.file_suffixes:
            raise InvalidInput(
                msg("{program} does not load embeddings from {suffix} files.", program=info.name, suffix=suffix),
                msg("Use one of {names}.", names=joined(info.file_suffixes)),
            )

    def place(self, name: str, suffix: str, folder: str = "") -> Path:
        """Return the path for a new file of an embedding: next to an existing file with the name, or else in a folder.

        Args:
            name: The name of the embedding.
            suffix: The suffix of the file.
            folder: The folder for a new name, relative to the embeddings folder.

        Raises:
            InvalidName: The name cannot be used.
            InvalidInput: The folder is outside the embeddings folder.
        """
        existing, root = self._files_named(name), self._store.root
        parent = existing[-1].path.parent if existing else resolve_folder(root / folder, root)
        return path_for(parent, name, suffix)

    def warnings_for_name(self, name: str) -> builtins.list[Message]:
        """Return warnings about a name that collides with others, or that does not work in some programs."""
        return warnings_for_new_name(name, {file.name for file in self._listing.current(self._store.root, name).files} - {name})

    def rename(self, name: str, new_name: str, file: str = "", replace: bool = False) -> Entry:
        """Rename an embedding, and the name inside its file if it is an image.

        Args:
            name: The embedding.
            new_name: Its new name.
            file: Its file.
            replace: Whether an embedding that has the new name goes to the trash first, with its sidecars.

        Raises:
            InvalidName: The new name cannot be used.
            NotFound: There is no such embedding.
            Conflict: The new name is taken, or the embedding is being trained.
            UnreadableFile: The name is inside an image of a type that cannot be written.
        """
        return self.change(name, file, new_name=new_name, replace=replace)

    def change(
        self,
        name: str,
        file: str = "",
        *,
        new_name: str | None = None,
        notes: Mapping[str, object] | None = None,
        preview: bytes | None = None,
        replace: bool = False,
    ) -> Entry:
        """Rename an embedding, change its notes and set its preview, all in one change.

        Raises the errors of `rename`, `set_notes` and `set_preview`.
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
                if replace:
                    self._make_room(transaction, entry, new_name)
                target, data_within = self._prepare_new_name(transaction, entry, new_name)
                transaction.rename(files, target, data_within, sidecars)
            catalog = self._updated(transaction)
        if new_name is None:
            self._count_change()
            return self._entry(target, catalog)
        if not any(listed.name == entry.name for listed in catalog.files):
            for callback in self._on_rename:
                callback(entry.name, target.stem)
        return self._reloaded(target, catalog)

    def copy(self, name: str, new_name: str, file: str = "") -> Entry:
        """Copy an embedding with its sidecars. Raises the errors of `rename`; the embedding may be in training."""
        with self._store.transaction() as transaction:
            entry, catalog = self._find(name, file)
            target = path_for(entry.file.parent, new_name, entry.file.suffix)
            transaction.check_exists(entry.file)
            self._check_name_free(new_name)
            transaction.copy(_files_of(entry, catalog), target, with_new_name(entry.file, new_name))
            catalog = self._updated(transaction)
        return self._reloaded(target, catalog)

    def delete(self, name: str, file: str = "", permanently: bool = False) -> None:
        """Move an embedding to the trash, or delete it permanently.

        Raises:
            NotFound: There is no such embedding.
            InvalidName: It is a link that leads outside.
            Conflict: It is being trained.
        """
        with self._store.transaction() as transaction:
            entry, catalog = self._find(name, file)
            transaction.delete(_files_of(entry, catalog), permanently=permanently)
            self._updated(transaction)
        self._reload()

    def sanitize(self, name: str, file: str = "") -> Entry:
        """Replace an unsafe file by a safe file with the same vectors; the old file goes to the trash.

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

    def restore(self, trash_id: str, name: str | None = None, replace: bool = False) -> builtins.list[Entry]:
        """Move an item of the trash back to its folder.

        Args:
            trash_id: The item.
            name: A new name for its embedding; None to keep the old one.
            replace: Whether an embedding that has the name now goes to the trash. Its sidecars stay if the item has none.

        Raises:
            NotFound: There is no such item.
            NameTaken: An embedding has the name, or a file is in the way, and `replace` is not given.
            Conflict: The host would execute an unsafe file, or the embedding to replace is being trained.
            InvalidName: The new name cannot be used.
            InvalidInput: A new name is given for an item without a single embedding.
        """
        info, trash = self._host.info(), self._store.trash
        if info.runs_pickles:
            sanitize.refuse_unsafe(trash.paths(trash.get(trash_id)), info.name)
        with self._store.transaction() as transaction:
            item = trash.get(trash_id)
            placed = restoring.place_files(item, trash.paths(item), name)
            try:
                replaced = self._replaced_by_restoring(item, placed, name) if replace else []
                for taken in () if replace else [name] if name else restoring.names_in(item):
                    self._check_name_free(taken)
                restored = transaction.restore(item, placed, replaced)
            except NameTaken as error:
                hint = msg('Use "{name}" or "{replace}".', name=restoring.UNDER_NAME, replace=restoring.REPLACE)
                raise NameTaken(error.message, hint) from error
            catalog = self._updated(transaction)
        self._reload()
        return self._entries([file for file in catalog.files if file.path in restored], catalog)

    def free_name(self, name: str) -> str:
        """Return a name that no embedding has, such as "my-cat-2" for "my-cat"."""
        return restoring.free_name(name, [file.name for file in self._listing.current(self._store.root, name).files])

    def bring_back(self, trash_id: str, name: str) -> Entry:
        """Make an embedding file in the trash the embedding of its name again; the present file goes to the trash.

        Args:
            trash_id: The item, which stays in the trash.
            name: The name of the embedding.

        Raises:
            NotFound: There is no such item.
            Conflict: The item is another embedding, the embedding is being trained, or the host would execute an unsafe file.
            UnreadableFile: The file cannot be read.
        """
        from train_embedding.embeddings.formats import read_bytes, read_contents

        info, trash = self._host.info(), self._store.trash
        item = trash.get(trash_id)
        files = [
            (path, Path(file))
            for path, file in zip(trash.paths(item), item.files, strict=True)
            if file in item.embeddings and Path(file).stem == name
        ]
        if not files:
            raise Conflict(msg('The item "{item}" in the trash is not the embedding "{name}".', item=trash_id, name=name))
        source, place = files[-1]
        if info.runs_pickles:
            sanitize.refuse_unsafe([source], info.name)
        data = read_contents(source)
        embedding = read_bytes(data, place.name)
        with self._store.transaction() as transaction:
            replaced = [listed.path for listed in self._replaced_by(embedding)]
            self._check_replaceable(name, replaced, overwrite=True)
            target = self._target(name, place, replaced)
            transaction.write(target, data, replaced=replaced, overwrite=True)
            catalog = self._updated(transaction)
        return self._reloaded(target, catalog)

    def empty_trash(self) -> int:
        """Permanently delete all items in the trash, and return their number."""
        return self._store.trash.empty()

    def set_notes(self, name: str, changes: Mapping[str, object], file: str = "") -> Entry:
        """Change fields of `Notes` in the embedding's `name.json`; keys of other programs are kept.

        Raises:
            NotFound: There is no such embedding.
            InvalidInput: There is no such field, or a value cannot be used.
            UnreadableFile: `name.json` is not a notes file.
        """
        return self.change(name, file, notes=changes)

    def set_preview(self, name: str, image: bytes, file: str = "") -> Entry:
        """Set a PNG, JPEG, WebP or GIF image as the preview of an embedding. Raises NotFound, UnreadableFile."""
        return self.change(name, file, preview=image)

    def preview_from_run(self, name: str, run_id: str, file: str = "") -> Entry:
        """Set the newest preview of a run as the preview of an embedding. Raises NotFound, UnreadableFile."""
        return self.set_preview(name, self.last_preview(run_id), file)

    def last_preview(self, run_id: str) -> bytes:
        """Return the newest preview of a run. Raises NotFound, UnreadableFile."""
        return preview_image.read_last_preview(self._host.info().runs_folder, run_id)

    def draw_preview(self, name: str, prompt: str = preview_image.DEFAULT_PROMPT, file: str = "") -> Entry:
        """Generate an image and set it as the preview of an embedding.

        Args:
            name: The embedding.
            prompt: The prompt, in which [name] stands for the embedding.
            file: Its file.

        Raises:
            NotFound: There is no such embedding.
            UnreadableFile: Its file cannot be read.
            Conflict: It is for another model family than the loaded checkpoint.
            HostFailed: No checkpoint is loaded, or the host could not generate the image.
        """
        return self.set_preview(name, self.drawn(name, prompt, file), file)

    def drawn(self, name: str, prompt: str = preview_image.DEFAULT_PROMPT, file: str = "") -> bytes:
        """Return the image that `draw_preview` would set, as the bytes of a PNG file."""
        return preview_image.draw_preview(self._host, self.read(name, file), prompt)

    def preview(self, name: str, file: str = "") -> Path:
        """Return the file of the preview. Raises NotFound, also if it is a link to another folder."""
        preview = self.get(name, file).preview
        if preview is None:
            raise NotFound(msg('"{name}" has no preview.', name=name))
        return preview

    def import_files(
        self, sources: Sequence[Path | tuple[str, bytes]], overwrite: bool = False, folder: str = "", name: str = ""
    ) -> builtins.list[Imported]:
        """Import files into a subfolder, with their sidecars; the two files of an SDXL pair become one embedding.

        Each file is validated completely first. Files that hosts can read are kept byte for byte; others are converted.

        Args:
            sources: Paths, or names and contents of uploads.
            overwrite: Whether to replace embeddings with the same names, which go to the trash.
            folder: The folder to import to, relative to the embeddings folder.
            name: The name of the embedding, if the files hold a single one; if empty, each is named after its file.

        Returns:
            The result for each embedding.

        Raises:
            InvalidName: The name cannot be used.
            InvalidInput: A name is given for several embeddings.
            StorageFailed: A file cannot be written.
        """
        info = self._host.info()
        files = [
            file if ready is None else self._import(file, ready, overwrite, folder)
            for file, ready in prepare_import(sources, info.allowed_folders, info.file_suffixes, name)
        ]
        entries = {entry.file: entry for entry in self.reload()}
        return [
            Imported(file.file, None if file.path is None else entries.get(file.path), file.problem, file.note) for file in files
        ]

    def export(
        self, name: str, form: str = "", suffix: str = "", file: str = "", program: str = "", license: str = ""
    ) -> Exported:
        """Export an embedding.

        Args:
            name: The embedding.
            form: One of `services.formats.SUFFIXES`; empty for the file as it is.
            suffix: Such as ".bin", for formats with several.
            file: Its file.
            program: One of `PROGRAMS`, which determines the format, and a name that works in its prompts; or one of `SHARES`:
                "civitai" for a zip archive, "card" for an image that shows and contains the embedding.
            license: The license that the texts in an archive state.

        Raises:
            NotFound: There is no such embedding.
            UnreadableFile: Its file cannot be read.
            InvalidInput: The format, suffix or program cannot be used.
        """
        return self._exported(self.get(name, file), Wanted(form, suffix, program, license))

    def export_to(self, target: Path, name: str, wanted: Wanted, file: str = "", overwrite: bool = False) -> Written:
        """Write an export into an existing folder, or to a file whose suffix selects the format.

        Raises:
            Conflict: The file exists, and `overwrite` is not given.
            InvalidInput: The suffix contradicts what is wanted.
            StorageFailed: The file cannot be written.
            TrainEmbeddingError: The errors of `export`.
        """
        entry = self.get(name, file)
        return write_export(
            target, wanted, lambda wanted, stem: self._exported(entry, wanted, stem), entry.file.suffix, overwrite
        )

    def lock_for_training(self, name: str) -> AbstractContextManager[None]:
        """Keep others from replacing, renaming and deleting an embedding until exit. Raises Conflict if a run is training it."""
        return self._store.lock_for_training(name)

    def is_being_trained(self, name: str) -> bool:
        """Whether a run is training the embedding, in this process or another."""
        return self._store.training_locks.is_locked(name)

    def _exported(self, entry: Entry, wanted: Wanted, stem: str = "") -> Exported:
        if wanted.program in SHARES:
            return make_share(entry, self.read(entry.name, entry.path), wanted, self._host.info().runs_folder)
        return make_export(entry.file, wanted, stem)

    def _find(self, name: str, file: str) -> tuple[Entry, Catalog]:
        """Return the embedding with a name, as `get` does, and the catalog that has it."""
        catalog = self._listing.current(self._store.root, name, expected=True)
        alike = [listed for listed in catalog.alike(name) if not file or listed.relative_path == file]
        named = [listed for listed in alike if listed.name == name]
        named = named or [listed for listed in alike if is_spelled_like(listed.name, name)]
        if not named:
            names = (listed.name for listed in catalog.files if not file or listed.relative_path == file)
            hint = did_you_mean(name, names)
            if file:
                raise NotFound(msg('There is no embedding "{name}" in the file "{file}".', name=name, file=file), hint)
            raise NotFound(msg('There is no embedding "{name}".', name=name), hint)
        return max(self._entries(named, catalog), key=lambda entry: (entry.loaded, entry.vectors > 0)), catalog

    def _files_named(self, name: str) -> builtins.list[ListedFile]:
        """Return all files with a name, the loaded one last. Raises InvalidName for a link that leads outside."""
        named = [file for file in self._listing.named(self._store.root, name) if _has_name(file.path, name)]
        for file in named:
            if file.path.is_symlink():
                check_inside(file.path, self._store.root)
        if len(named) > 1:
            used = self._find(name, "")[0].file
            named.sort(key=lambda file: file.path == used)
        return named

    def _replaced_by(self, embedding: Embedding) -> builtins.list[ListedFile]:
        """Return the files that an embedding replaces: those for the same model, or all with its name if there are none."""
        named = self._files_named(embedding.name)
        readable = [file for file in named if file.name == embedding.name and file.summary.vectors]
        others = [file for file in readable if file.summary.widths != embedding.widths]
        return [file for file in named if file not in others] if len(others) < len(readable) else named

    def _check_replaceable(self, name: str, existing: Sequence[Path], *, overwrite: bool, by_run: bool = False) -> None:
        if existing and not overwrite:
            raise _name_taken(name, msg('Choose another name, or use "{option}".', option=OVERWRITE))
        if not by_run:
            self._store.training_locks.check_free(*dict.fromkeys([name, *(path.stem for path in existing)]))

    def _replaced_by_restoring(self, item: Trashed, placed: Placed, name: str | None) -> builtins.list[Path]:
        """Return the files that go to the trash when an item replaces what has its names now."""
        root = self._store.root
        in_the_way = restoring.occupied(root, placed)
        chosen: builtins.list[ListedFile] = []
        for stem, embedding in restoring.read_embeddings(item, self._store.trash.paths(item), name).items():
            named = self._files_named(stem)
            chosen += named if embedding is None else self._replaced_by(embedding)
            chosen += [file for file in named if file.path in in_the_way]
        self._store.training_locks.check_free(*dict.fromkeys(file.name for file in chosen))
        paths = [file.path for file in chosen]
        if item.has_sidecars:  # otherwise it was overwritten, and its notes and preview stayed with the name
            paths = restoring.with_sidecars(chosen, self._listing.scan(root))
        return list(dict.fromkeys([*paths, *in_the_way]))

    def _check_name_free(self, name: str, besides: Path | None = None) -> None:
        for file in self._files_named(name):
            # On file systems that ignore case, a file may be renamed to its own name in another case.
            if besides is None or file.path.name == f"{name}{besides.suffix}" or not file.path.samefile(besides):
                raise _name_taken(name, msg("Choose another name."))

    def _target(self, name: str, file: Path | None, replaced: Sequence[Path]) -> Path:
        """Return the path to write an embedding to, as lists show it."""
        root = self._store.root
        if file is None:
            used = replaced[-1] if replaced else None
            # A file that cannot be written or that the host does not load is replaced by one in the default format.
            if used is not None and used.suffix.lower() in _WRITTEN.intersection(self._host.info().file_suffixes):
                return used
            return path_for(root if used is None else used.parent, name, self._new_suffix())
        if file.stem != name:
            raise InvalidInput(
                msg('"{name}" cannot be saved as "{file}": the file name is the trigger word.', name=name, file=file.name)
            )
        target = resolve_folder((file if file.is_relative_to(root) else root / file).parent, root) / file.name
        return target if target in replaced else path_for(target.parent, name, file.suffix)

    def _import(self, file: IncomingFile, ready: HostFile, overwrite: bool, folder: str) -> IncomingFile:
        """Write a file that was read and checked, and return it with its path or problem."""
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
            return replace(file, problem=error.text)

    def _prepare_new_name(self, transaction: StoreTransaction, entry: Entry, new_name: str) -> tuple[Path, bytes | None]:
        """Return the path of an embedding under a new name, and the new content of its file, if it changes."""
        target = path_for(entry.file.parent, new_name, entry.file.suffix)
        transaction.check_free_to_move(entry.file)
        self._check_name_free(new_name, besides=entry.file)
        return target, None if target.exists() else with_new_name(entry.file, new_name)

    def _make_room(self, transaction: StoreTransaction, entry: Entry, new_name: str) -> None:
        """Move the embedding that has the new name of another to the trash."""
        path_for(entry.file.parent, new_name, entry.file.suffix)
        transaction.check_free_to_move(entry.file)
        taken = [file for file in self._files_named(new_name) if not file.path.samefile(entry.file)]
        if taken:
            self._store.training_locks.check_free(*dict.fromkeys(file.name for file in taken))
            first, *others = restoring.with_sidecars(taken, self._listing.scan(self._store.root))
            transaction.delete(EmbeddingFiles(first, tuple(others)))

    def _changed_notes(self, file: Path, changes: Mapping[str, object]) -> tuple[Path, bytes] | None:
        """Return the notes file of an embedding, and its changed content; None if nothing changes."""
        path = file.with_name(f"{file.stem}{NOTES_SUFFIX}")
        check_inside(path, self._store.root)
        text = path.with_suffix(TEXT_SUFFIX)
        data = edit_notes_file(read_notes_file(path), changes, path.name, read_description(text) if may_be_opened(text) else "")
        return None if data is None else (path, data)

    def _new_suffix(self) -> str:
        return self._host.info().file_suffixes[0]

    def _updated(self, transaction: StoreTransaction) -> Catalog:
        return self._listing.update(self._store.root, transaction.changed)

    def _reload(self) -> None:
        """Have the host load the files as they are now."""
        self._host.reload_embeddings()
        self._count_change()

    def _count_change(self) -> None:
        with self._lock:
            self.changes += 1

    def _reloaded(self, file: Path, catalog: Catalog) -> Entry:
        self._reload()
        return self._entry(file, catalog)

    def _entry(self, path: Path, catalog: Catalog) -> Entry:
        return self._entries([file for file in catalog.files if file.path == path], catalog)[0]

    def _entries(self, files: Sequence[ListedFile], catalog: Catalog) -> builtins.list[Entry]:
        """Return the entries of some files of a catalog, sorted by name."""
        entries = make_entries(files, catalog, self._host.info(), self._host.loaded_embeddings())
        return sorted(entries, key=lambda entry: (entry.name.casefold(), entry.name, str(entry.file)))


def _files_of(entry: Entry, catalog: Catalog) -> EmbeddingFiles:
    """Return the file of an entry with its sidecars."""
    others = (file.path for file in catalog.alike(entry.name) if file.name == entry.name and file.path != entry.file)
    shared = any(path.parent == entry.file.parent for path in others)
    return EmbeddingFiles(entry.file, tuple(entry.file.with_name(name) for name in entry.sidecars), shared)


def _has_name(path: Path, name: str) -> bool:
    if path.stem == name:
        return not path.is_dir()
    # On file systems that ignore case or Unicode forms, writing "art.pt" would overwrite "Art.pt".
    other = path.with_name(f"{name}{path.suffix}")
    return folded(path.stem) == folded(name) and other.exists() and other.samefile(path)


def _name_taken(name: str, hint: Message) -> NameTaken:
    return NameTaken(msg('There is already an embedding "{name}".', name=name), hint)
