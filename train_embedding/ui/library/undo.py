"""Undoing and restoring: what the undo button takes back, and the ways out where a name is taken meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from train_embedding.errors import NameTaken, NotFound, TrainEmbeddingError
from train_embedding.messages import Message, msg
from train_embedding.ui import html
from train_embedding.ui.error_handling import errors_in
from train_embedding.ui.gradio_compat import AT_ONCE, UNLISTED
from train_embedding.ui.library import actions
from train_embedding.ui.library import files as library_files
from train_embedding.ui.library.cards import key_of
from train_embedding.ui.library.chosen import REPLACE, UNDER_NAME, Chosen, entry_of, every, shown
from train_embedding.ui.library.details import restore_message, trash_label, undoable_message
from train_embedding.ui.library.tools import IN_TRASH, Tools, trash_update
from train_embedding.ui.templates import render

if TYPE_CHECKING:
    from train_embedding.services import Services
    from train_embedding.services.library import Entry, Trashed

UndoKind = Literal["rename", "overwrite", "delete", "restore", "taken"]
"""The actions that the undo button takes back. "taken" is none: a name was taken, and the page offers the ways out."""
Updates = dict[Any, Any]


def connect(services: Services, chosen: Chosen, tools: Tools) -> Sequence[Any]:
    """Connect the actions that can be undone, the undo button, and the buttons for a taken name.

    Args:
        services: What the actions work on.
        chosen: The widgets of the selected embedding.
        tools: The widgets of the trash.

    Returns:
        The events that may change the library, which others may follow.
    """

    def done(entry: Entry, kind: UndoKind, what: Sequence[str], *messages: Message) -> Updates:
        return {**shown(services, chosen, entry), chosen.status: undoable_message(*messages), chosen.undoing: [kind, *what]}

    @errors_in(chosen.status)
    def rename(key: str, new_name: str) -> Updates:
        entry = entry_of(services, key)
        renamed, message = actions.rename(services, entry, new_name)
        return done(renamed, "rename", [key_of(renamed), entry.name], message)

    @errors_in(chosen.status)
    def convert(key: str, to: str, name: str, overwrite: bool = False) -> Updates:
        known = _in_trash(services)
        saved, *messages = library_files.convert(services, entry_of(services, key), to, name, overwrite)
        replaced = next((item.id for item in _new_in_trash(services, known) if _is_of(item, saved)), "")
        if replaced:
            return done(saved, "overwrite", [replaced, saved.name], *messages)
        return {**shown(services, chosen, saved), chosen.status: html.message("good", *messages), chosen.undoing: []}

    @errors_in(chosen.status)
    def delete(key: str) -> Updates:
        entry = entry_of(services, key)
        services.library.delete(entry.name, entry.path)
        newest = next((item.id for item in services.library.trashed() if entry.path in item.files), "")
        message = undoable_message(msg("{name} is in the trash.", name=entry.name))
        cleared = {chosen.details: "", chosen.selected: "", chosen.report: ""}
        return {**cleared, chosen.status: message, chosen.undoing: ["delete", newest]}

    converted = [chosen.selected, chosen.files.to, chosen.files.name, chosen.files.overwrite]
    return (
        chosen.rename.click(rename, [chosen.selected, chosen.name], every(chosen), **AT_ONCE),
        chosen.files.convert.click(convert, converted, every(chosen), **UNLISTED),
        chosen.delete.click(delete, [chosen.selected], every(chosen), **AT_ONCE),
        *_connect_restoring(services, chosen, tools),
    )


def _connect_restoring(services: Services, chosen: Chosen, tools: Tools) -> Sequence[Any]:
    def restored(entries: Sequence[Entry], undoing: Sequence[str]) -> Updates:
        text = restore_message(entries, undoable=bool(undoing))
        updates = shown(services, chosen, entries[0]) if entries else {}
        return {**updates, chosen.status: text, chosen.undoing: list(undoing), tools.trashed: trash_update(services)}

    def taken(problem: TrainEmbeddingError, name: str, undoing: Sequence[str], hint: Message | None = None) -> Updates:
        lines = [problem.hint if hint is None else hint]
        message = {chosen.status: render("taken", text=problem.message, lines=lines), chosen.undoing: ["taken", *undoing]}
        return {**message, chosen.restore_as: name}

    @errors_in(chosen.status)
    def restore(label: str | None) -> Updates:
        if not label:
            raise NotFound(msg("No item is selected."), msg('Select one in "{field}".', field=IN_TRASH))
        item = next((item.id for item in services.library.trashed() if trash_label(item) == label), label)
        try:
            return restored(*_restore(services, item))
        except NameTaken as problem:
            return taken(problem, _suggestion(services, ["delete", item]), ["delete", item])

    @errors_in(chosen.status)
    def undo(undoing: Sequence[str]) -> Updates:
        try:
            return restored(_undo(services, *undoing) if undoing else [], ())
        except NameTaken as problem:
            hint = msg('Use "{name}" or "{replace}".', name=UNDER_NAME, replace=REPLACE)
            return taken(problem, _suggestion(services, undoing), undoing, hint)

    def restore_otherwise(undoing: Sequence[str], name: str | None, replace: bool) -> Updates:
        if len(undoing) < 3 or undoing[0] != "taken":
            raise NotFound(msg("There is nothing to restore."))
        try:
            return restored(*_restore_otherwise(services, undoing[1:], name, replace))
        except TrainEmbeddingError as problem:  # the ways out stay
            return taken(problem, name or _suggestion(services, undoing[1:]), undoing[1:])

    @errors_in(chosen.status)
    def restore_under_name(undoing: Sequence[str], name: str) -> Updates:
        return restore_otherwise(undoing, name.strip(), replace=False)

    @errors_in(chosen.status)
    def replace_present(undoing: Sequence[str]) -> Updates:
        return restore_otherwise(undoing, None, replace=True)

    outputs = [*every(chosen), chosen.restore_as, tools.trashed]
    chosen.leave.click(lambda: {chosen.status: "", chosen.undoing: []}, [], [chosen.status, chosen.undoing], **AT_ONCE)
    return (
        tools.restore.click(restore, [tools.trashed], outputs, **AT_ONCE),
        chosen.undo.click(undo, [chosen.undoing], outputs, **AT_ONCE),
        chosen.restore_under.click(restore_under_name, [chosen.undoing, chosen.restore_as], outputs, **AT_ONCE),
        chosen.replace.click(replace_present, [chosen.undoing], outputs, **AT_ONCE),
    )


def _restore(
    services: Services, trash_id: str, name: str | None = None, replace: bool = False
) -> tuple[list[Entry], Sequence[str]]:
    """Restore an item of the trash; return the embeddings, and what the undo button needs to take that back."""
    known = _in_trash(services)
    item = next((item for item in services.library.trashed() if item.id == trash_id), None)
    entries = services.library.restore(trash_id, name, replace)
    replaced = next((item.id for item in _new_in_trash(services, known)), "")
    exchanged = "" if item is None or item.has_sidecars else "exchanged"
    return entries, ["restore", replaced, exchanged, *map(key_of, entries)] if entries else []


def _restore_otherwise(
    services: Services, undoing: Sequence[str], name: str | None, replace: bool
) -> tuple[list[Entry], Sequence[str]]:
    """Undo or restore what was refused because a name is taken: under another name, or in place of the present embedding."""
    kind, what, *more = undoing
    if kind != "rename":
        return _restore(services, what, name, replace)
    entry = entry_of(services, what)
    return [services.library.rename(entry.name, more[0] if name is None else name, entry.path, replace)], ()


def _undo(services: Services, kind: str, what: str, *more: str) -> list[Entry]:
    """Take an action back.

    Args:
        services: Have the library.
        kind: The action, an `UndoKind`.
        what: An id in the trash; after a renaming the key of the embedding.
        more: The name of the embedding before it was renamed or overwritten. After a restoration whether two files have changed
            places, so that the notes stayed, and the keys of the restored embeddings.
    """
    library = services.library
    if kind == "rename":
        entry = entry_of(services, what)
        return [library.rename(entry.name, more[0], entry.path)]
    if kind == "overwrite":
        return [library.bring_back(what, more[0])]
    if kind == "restore":
        exchanged, *keys = more
        if what and exchanged:
            return library.restore(what, replace=True)
        for entry in [entry_of(services, key) for key in keys]:
            library.delete(entry.name, entry.path)
    return library.restore(what) if what else []


def _suggestion(services: Services, undoing: Sequence[str]) -> str:
    """Return a free name for what cannot be restored under its own."""
    kind, what, *more = undoing
    if kind == "rename":
        return services.library.free_name(more[0])
    item = next(item for item in services.library.trashed() if item.id == what)
    return services.library.free_name(Path((item.embeddings or item.files)[0]).stem)


def _in_trash(services: Services) -> set[str]:
    return {item.id for item in services.library.trashed()}


def _new_in_trash(services: Services, known: set[str]) -> list[Trashed]:
    return [item for item in services.library.trashed() if item.id not in known]


def _is_of(item: Trashed, entry: Entry) -> bool:
    return any(Path(file).stem == entry.name for file in item.embeddings)
