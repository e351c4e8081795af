"""Embedding files as lists show them: what they hold, whether the host uses them, and what a person should know of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from train_embedding.embeddings.text_encoders import family_of
from train_embedding.hosts.base import HostInfo, LoadedEmbeddings
from train_embedding.services.listing import Content, Found
from train_embedding.services.notes import Notes
from train_embedding.services.remarks import remarks_of
from train_embedding.services.sidecars import previews_of


@dataclass(frozen=True)
class Entry:
    """One embedding file, as lists show it."""

    name: str
    family: str
    "Empty where the file cannot be read."
    vectors: int
    "0 where the file cannot be read."
    widths: dict[str, int]
    step: int | None
    checkpoint: str | None
    file: Path
    folder: str
    'Of the embeddings folder, with slashes, such as "styles/old"; empty for the folder itself.'
    format: str
    "The form that the file has; empty where it cannot be read."
    size: int
    "Bytes."
    hash: str
    "What the WebUI writes after the name under a picture (TI hashes); empty where the file cannot be read."
    modified: float
    "Seconds since 1970."
    loaded: bool
    "Whether a prompt that holds the name uses this file now."
    reason: str
    "Why not, a sentence; empty where it is loaded."
    preview: Path | None
    sidecars: tuple[str, ...]
    "Names of the files beside it that go with it."
    notes: Notes
    remarks: tuple[str, ...]
    "Sentences: names that collide, vectors that are there twice."

    @property
    def path(self) -> str:
        """Of the file, below the embeddings folder, with slashes."""
        return f"{self.folder}/{self.file.name}".lstrip("/")

    def to_json(self) -> dict[str, Any]:
        return {
            **vars(self),
            "file": str(self.file),
            "preview": None if self.preview is None else str(self.preview),
            "sidecars": list(self.sidecars),
            "notes": self.notes.to_json(),
            "remarks": list(self.remarks),
        }


def entries_of(found: Sequence[Found], info: HostInfo, loaded: LoadedEmbeddings) -> list[Entry]:
    """One entry per file, in the order of `found`, which is the order in which the host comes to them."""
    # Of files with one name the host uses the last one that fits the checkpoint.
    used = {one.path.stem: one.path for one in found if not one.content.problem and _fits(one.content, info)}
    root = info.embeddings_folder
    folders = {parent: parent.relative_to(root).as_posix() for parent in {one.path.parent for one in found}}
    folder_of = {parent: "" if folder == "." else folder for parent, folder in folders.items()}

    def shown(one: Found) -> str:
        return f"{folder_of[one.path.parent]}/{one.path.name}".lstrip("/")

    return [
        _entry(one, folder_of[one.path.parent], _why_not_loaded(one, info, loaded, used), remarks)
        for one, remarks in zip(found, remarks_of(found, shown), strict=True)
    ]


def _fits(content: Content, info: HostInfo) -> bool:
    return not info.widths or content.widths == info.widths


def _why_not_loaded(found: Found, info: HostInfo, loaded: LoadedEmbeddings, used: dict[str, Path]) -> str:
    path, content = found.path, found.content
    name = path.stem
    if content.problem:
        return content.problem
    if not _fits(content, info):
        made_for = f"It was made for {_model(content.widths)}; the loaded checkpoint is {_model(info.widths)}."
        return made_for if name in loaded.names else loaded.left_out.get(name, made_for)
    if used[name] != path:
        return f'The host uses "{used[name]}", which has the same name.'
    if name in loaded.names:
        return ""
    if not info.widths:
        return "No checkpoint is loaded."
    return loaded.left_out.get(name, "The host has not read it yet; refresh the list.")


def _model(widths: dict[str, int]) -> str:
    family = family_of(widths)
    return f"a model of width {' + '.join(str(width) for width in widths.values())}" if family == "custom" else family


def _entry(found: Found, folder: str, reason: str, remarks: tuple[str, ...]) -> Entry:
    path, content = found.path, found.content
    previews = previews_of(path.stem, found.sidecars) if found.sidecars else []
    return Entry(
        name=path.name if path.is_dir() else path.stem,
        family=content.family,
        vectors=content.vectors,
        widths=content.widths,
        step=content.step,
        checkpoint=content.checkpoint,
        file=path,
        folder=folder,
        format=content.format,
        size=found.size,
        hash=content.hash,
        modified=found.modified,
        loaded=not reason,
        reason=reason,
        preview=path.with_name(previews[0]) if previews else None,
        sidecars=found.sidecars,
        notes=found.notes.notes,
        remarks=remarks,
    )
