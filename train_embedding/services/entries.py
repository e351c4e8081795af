"""Embedding files as lists show them: what they hold, and whether the host uses them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from train_embedding.embeddings.text_encoders import family_of
from train_embedding.hosts.base import HostInfo, LoadedEmbeddings
from train_embedding.services.listing import Content

PREVIEW_SUFFIXES = tuple(f"{mark}.{suffix}" for mark in (".preview", "") for suffix in ("png", "jpg", "jpeg", "webp", "gif"))
"What the WebUI looks for beside an embedding."


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
    loaded: bool
    "Whether a prompt that holds the name uses this file now."
    reason: str
    "Why not, a sentence; empty where it is loaded."
    preview: Path | None

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "file": str(self.file), "preview": None if self.preview is None else str(self.preview)}


def entries_of(found: Sequence[tuple[Path, Content]], info: HostInfo, loaded: LoadedEmbeddings) -> list[Entry]:
    """One entry per file, in the order of `found`, which is the order in which the host comes to them."""
    # Of files with one name the host uses the last one that fits the checkpoint.
    used = {path.stem: path for path, content in found if not content.problem and _fits(content, info)}
    return [_entry(path, content, _why_not_loaded(path, content, info, loaded, used)) for path, content in found]


def _fits(content: Content, info: HostInfo) -> bool:
    return not info.widths or content.widths == info.widths


def _why_not_loaded(path: Path, content: Content, info: HostInfo, loaded: LoadedEmbeddings, used: dict[str, Path]) -> str:
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


def _entry(path: Path, content: Content, reason: str) -> Entry:
    candidates = (path.with_name(f"{path.stem}{suffix}") for suffix in PREVIEW_SUFFIXES)
    return Entry(
        name=path.name if path.is_dir() else path.stem,
        family=content.family,
        vectors=content.vectors,
        widths=content.widths,
        step=content.step,
        checkpoint=content.checkpoint,
        file=path,
        loaded=not reason,
        reason=reason,
        preview=next((candidate for candidate in candidates if candidate.is_file()), None),
    )
