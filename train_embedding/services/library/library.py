"""The embeddings there are: creating, listing, reading, saving, and looking after them."""

from __future__ import annotations

import builtins
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.names import check_name, did_you_mean, is_spelled_like
from train_embedding.errors import NotFound, UnreadableFile
from train_embedding.hosts.base import EmbeddingFile, Host
from train_embedding.services.formats import form_for
from train_embedding.services.importing.importing import import_all
from train_embedding.services.library import sanitize
from train_embedding.services.library.create import Budget, Created, budget_of, new_embedding
from train_embedding.services.library.entries import Entry, Imported, entries_of
from train_embedding.services.library.export import Exported, Wanted, Written, exported, written
from train_embedding.services.library.index import FILE_NAME, Index
from train_embedding.services.library.listing import Listing
from train_embedding.services.sidecars import preview as preview_picture
from train_embedding.services.sidecars.files import NOTES_SUFFIX, TEXT_SUFFIX, is_plain
from train_embedding.services.sidecars.notes import check_changes, edit_notes_file, read_description, read_notes_file
from train_embedding.services.sidecars.untrusted_images import check_preview
from train_embedding.services.store.store import NEW_SUFFIX, Edit, Shelf, taken
from train_embedding.services.store.trash import Trashed

__all__ = ["Budget", "Created", "Entry", "Imported", "Library", "Trashed"]


class Library:
    """Use cases about embeddings. Safe to call from any thread, and from several processes.

    An embedding is meant by its name; of several files with one name, the one in use, or that at the path `file` below the
    embeddings folder. Whatever is deleted or overwritten is kept in the trash. Each change takes along what belongs to the
    embedding, happens wholly or not at all, and is known to the host when the method returns. Besides the errors named, changes
    raise StorageFailed.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._shelf = Shelf(host, lambda name: self.get(name).file)
        self._listing = Listing(lambda: Index(self._shelf.own_folder / FILE_NAME))

    @property
    def trash_folder(self) -> Path:
        return self._shelf.trash.folder

    def create(
        self,
        name: str,
        init_text: str = "",
        vectors: int | str = "auto",
        overwrite: bool = False,
        suffix: str = NEW_SUFFIX,
        start: str = "tokens",
    ) -> Created:
        """Makes an embedding of the text's token embeddings, before the transformer, as the WebUI does, or as `start` says.

        vectors: 1…75, or "auto" for as many as the text has tokens. start: one of `STARTS`. Raises InvalidName,
        InvalidInput, Conflict where the name is taken and `overwrite` is not given or the embedding to start from is for another
        model, NotFound and UnreadableFile for that one, HostFailed without a checkpoint, StorageFailed.
        """
        new = new_embedding(self._host, self._shelf, self.read, name, init_text, vectors, overwrite, suffix, start)
        return Created(self.save(new.embedding, file=new.file, overwrite=overwrite), new.tokens, new.notes)

    def budget(self, init_text: str, vectors: int | str, start: str = "tokens") -> Budget:
        """How many tokens the text has, and how many an embedding made of it would take. Raises what `create` raises."""
        return budget_of(init_text, vectors, start, self.read)

    def list(self) -> builtins.list[Entry]:
        """Every embedding file, sorted by name. One that cannot be read stands there with the reason."""
        self._shelf.recover()
        info = self._host.info()
        entries = entries_of(self._listing.scan(info.embeddings_folder), info, self._host.loaded_embeddings())
        return sorted(entries, key=lambda entry: (entry.name.casefold(), entry.name, str(entry.file)))

    def files(self) -> builtins.list[EmbeddingFile]:
        """What is known of every embedding file, in the order in which the WebUI walks; only those that changed are opened."""
        found = self._listing.scan(self._host.info().embeddings_folder)
        return [EmbeddingFile(one.path, one.content.widths, one.content.vectors, one.content.problem) for one in found]

    def reload(self) -> builtins.list[Entry]:
        """Makes the host read its embeddings again, then lists them."""
        self._host.reload_embeddings()
        return self.list()

    def get(self, name: str, file: str = "") -> Entry:
        """The embedding of that name: of several files the one in use, or else one that can be read. Raises NotFound.

        As in a prompt, accents may be composed or not; where both are names, the one that is spelled alike is meant.
        """
        entries = [entry for entry in self.list() if not file or entry.path == file]
        named = [entry for entry in entries if entry.name == name] or [
            entry for entry in entries if is_spelled_like(entry.name, name)
        ]
        if not named:
            where = f" in the file {file!r}" if file else ""
            raise NotFound(f'No embedding named "{name}"{where}.', did_you_mean(name, (entry.name for entry in entries)))
        return max(named, key=lambda entry: (entry.loaded, entry.vectors > 0))

    def read(self, name: str, file: str = "") -> Embedding:
        """The vectors and where they come from. Raises NotFound, UnreadableFile."""
        from train_embedding.embeddings.formats import read_embedding

        entry = self.get(name, file)
        if not entry.vectors:
            raise UnreadableFile(entry.reason)
        return read_embedding(entry.file)

    def save(self, embedding: Embedding, *, file: Path | None = None, overwrite: bool = True, by_run: bool = False) -> Entry:
        """Writes an embedding into the embeddings folder; whatever has the name already goes to the trash.

        Where a file of the name is for the same model, those for other models stay: a host uses each under its own checkpoint.
        file: where; left out, the file in use under that name, or else a new `.pt`. by_run: whether the run that trains it saves
        it. Raises InvalidName, InvalidInput, Conflict without `overwrite` or while it is trained, StorageFailed; then the old
        file stays as it was.
        """
        from train_embedding.embeddings.formats import encode

        def for_other_models() -> set[Path]:
            named = [entry for entry in self.list() if entry.name == embedding.name and entry.vectors]
            others = {entry.file for entry in named if entry.widths != embedding.widths}
            return others if len(others) < len(named) else set()

        def content(suffix: str) -> bytes:
            return encode(embedding, form_for(suffix), suffix.lower())

        self._shelf.put(embedding.name, content, file, overwrite, stay=for_other_models, by_run=by_run)
        return self._reloaded(embedding.name)

    def check_free(self, name: str, overwrite: bool = False) -> None:
        """For what takes long to make: raises Conflict and InvalidName where `save` would."""
        check_name(name)
        existing = self._shelf.files_named(name)
        if existing and not overwrite:
            raise taken(name)
        for path in existing:
            self._shelf.training_locks.check_free(path.stem)

    def rename(self, name: str, new_name: str, file: str = "") -> Entry:
        """Raises InvalidName, NotFound, Conflict where the new name is taken or the embedding is being trained.

        A picture that carries its name inside gets the new one there; UnreadableFile where that kind cannot be written.
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
        """Renames an embedding, changes its notes and sets its preview: all that is given, or nothing.

        Raises what `rename`, `set_notes` and `set_preview` raise.
        """
        checked = check_changes(notes or {})
        edits: builtins.list[Edit] = []
        if checked:
            edits.append(Edit(NOTES_SUFFIX, lambda path: _noted(path, checked)))
        if preview is not None:
            edits.append(Edit(f".preview{check_preview(preview)}", preview))
        at = self.get(name, file).file
        if new_name is not None:
            self._shelf.rename(at, new_name, edits)
            return self._reloaded(new_name)
        self._shelf.edit(at, edits)
        return self.get(name, file)

    def copy(self, name: str, new_name: str, file: str = "") -> Entry:
        """Raises InvalidName, NotFound, Conflict where the new name is taken, UnreadableFile as `rename` does."""
        self._shelf.copy(self.get(name, file).file, new_name)
        return self._reloaded(new_name)

    def delete(self, name: str, file: str = "", permanently: bool = False) -> None:
        """Puts it into the trash, unless `permanently`.

        Raises NotFound, InvalidName for a link to elsewhere, Conflict while it is being trained.
        """
        self._shelf.delete(self.get(name, file).file, permanently)
        self._host.reload_embeddings()

    def sanitize(self, name: str, file: str = "") -> Entry:
        """Replaces an unsafe file with one that holds its vectors only; the old file goes to the trash.

        Raises NotFound, Conflict where the file is not unsafe or the embedding is being trained, UnreadableFile where no vectors
        can be read.
        """
        entry = self.get(name, file)
        self._shelf.rewrite(entry.file, lambda suffix: sanitize.sanitized_bytes(entry, suffix))
        self._host.reload_embeddings()
        return self.get(name, entry.path)

    def trashed(self) -> builtins.list[Trashed]:
        """What lies in the trash, the newest first."""
        self._shelf.recover()
        return self._shelf.trash.list()

    def restore(self, trash_id: str) -> builtins.list[Entry]:
        """Puts what lies in the trash back to where it was.

        Raises NotFound, Conflict where something is there already, or the host would run what an unsafe file of it imports.
        """
        info, trash = self._host.info(), self._shelf.trash
        if info.runs_pickles:
            sanitize.refuse_unsafe(trash.paths(trash.get(trash_id)), info.name)
        restored = self._shelf.restore(trash_id)
        return [entry for entry in self.reload() if entry.file in restored]

    def empty_trash(self) -> int:
        """Deletes for good what lies in the trash; answers how many items that were."""
        return self._shelf.trash.empty()

    def set_notes(self, name: str, changes: Mapping[str, object], file: str = "") -> Entry:
        """Changes fields of `Notes` in the embedding's `name.json`; keys of other programs there stay as they are.

        Raises NotFound, InvalidInput, UnreadableFile for a file of that name that holds something else.
        """
        return self.change(name, file, notes=changes)

    def set_preview(self, name: str, picture: bytes, file: str = "") -> Entry:
        """Makes a PNG, JPEG, WebP or GIF the embedding's preview. Raises NotFound, UnreadableFile."""
        return self.change(name, file, preview=picture)

    def preview_from_run(self, name: str, run_id: str, file: str = "") -> Entry:
        """Makes the newest picture that a run drew the embedding's preview. Raises NotFound, UnreadableFile."""
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
        files = import_all(self._shelf, sources, allowed, overwrite, folder, name)
        entries = {entry.file: entry for entry in self.reload()}
        return [
            Imported(file.file, None if file.path is None else entries.get(file.path), file.problem, file.note) for file in files
        ]

    def export(self, name: str, form: str = "", suffix: str = "", file: str = "", program: str = "") -> Exported:
        """File name and bytes, in one of `services.forms.SUFFIXES`; without a format, the file as it is.

        suffix: such as ".bin", where the format has several. program: one of `services.exporting.PROGRAMS`, which chooses the
        format, and a name that its prompts can call. Raises NotFound, UnreadableFile, InvalidInput.
        """
        return exported(self.get(name, file).file, Wanted(form, suffix, program))

    def export_to(self, target: Path, name: str, wanted: Wanted, file: str = "", overwrite: bool = False) -> Written:
        """Writes an export to a file, whose suffix decides about its format, or into a folder that exists.

        Raises what `export` raises, InvalidInput for a suffix that contradicts what is wanted, Conflict, StorageFailed.
        """
        source = self.get(name, file).file
        return written(target, wanted, lambda wanted, stem: exported(source, wanted, stem), source.suffix, overwrite)

    def held(self, name: str) -> AbstractContextManager[None]:
        """Until exit nobody else can replace, rename or delete the embedding. Raises Conflict where another run holds it."""
        return self._shelf.held(name)

    def is_held(self, name: str) -> bool:
        """Whether a run holds the embedding, here or in another process."""
        return self._shelf.training_locks.is_locked(name)

    def _reloaded(self, name: str) -> Entry:
        self._host.reload_embeddings()
        return self.get(name)


def _noted(path: Path, changes: Mapping[str, object]) -> bytes | None:
    """The file of notes at a path with changes, beside a description in a file of its own."""
    text = path.with_suffix(TEXT_SUFFIX)
    return edit_notes_file(read_notes_file(path), changes, path.name, read_description(text) if is_plain(text) else "")
