"""Entries of the library: embedding files with their contents, whether the host uses them, and warnings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from train_embedding.embeddings.text_encoders import does_not_fit
from train_embedding.hosts.base import HostInfo, LoadedEmbeddings
from train_embedding.messages import NOTHING, SPACE, Message, joined, msg
from train_embedding.services.formats import UNLOADED
from train_embedding.services.library.file_summary import UNVERIFIED, FileSummary
from train_embedding.services.library.listing import Catalog, ListedFile
from train_embedding.services.library.warnings import warnings_for_files, why_unloaded
from train_embedding.services.loaded_checkpoint import NO_CHECKPOINT
from train_embedding.services.sidecars.files import select_previews
from train_embedding.services.sidecars.notes import NO_NOTES, Notes


@dataclass(frozen=True)
class Entry:
    """One embedding file, as lists show it."""

    name: str
    family: str
    "Empty if the file cannot be read."
    vectors: int
    "0 if the file cannot be read."
    widths: dict[str, int]
    step: int | None
    checkpoint: str | None
    file: Path
    loaded: bool
    "Whether the trigger word uses this file now."
    reason: Message
    "Why it is not loaded; empty if it is."
    preview: Path | None
    folder: str = ""
    'Subfolder of the embeddings folder, with slashes, such as "styles/old"; empty for the embeddings folder itself.'
    format: str = ""
    "The name of its format; empty if it cannot be read."
    size: int = 0
    "Bytes."
    hash: str = ""
    "The hash that the WebUI adds to infotexts (TI hashes); empty if the file cannot be read."
    modified: float = 0.0
    "Seconds since 1970."
    sidecars: tuple[str, ...] = ()
    "Names of the files next to it that belong to it."
    notes: Notes = NO_NOTES
    warnings: tuple[Message, ...] = ()
    "Such as names that collide, and duplicate vectors."
    unsafe_reason: Message = NOTHING
    "Why the file is unsafe for programs that execute pickles; empty if it is not."
    can_sanitize: bool = False
    "Whether `Library.sanitize` can replace the file by a safe one."

    @property
    def path(self) -> str:
        """The path below the embeddings folder, with slashes."""
        return f"{self.folder}/{self.file.name}".lstrip("/")


@dataclass(frozen=True)
class Imported:
    """The result of importing one file, or the two files of a pair."""

    file: str
    "The original name."
    entry: Entry | None = None
    "None if it was not imported."
    problem: Message = NOTHING
    "Why it was not imported."
    note: Message = NOTHING
    "What was changed, and which companions were imported."


def make_entries(files: Sequence[ListedFile], catalog: Catalog, info: HostInfo, loaded: LoadedEmbeddings) -> list[Entry]:
    """Make the entries of some files of a catalog, in their order.

    Args:
        files: The files.
        catalog: All files, in the order in which the host reads them.
        info: The host and its loaded checkpoint.
        loaded: The embeddings that the host has loaded.
    """
    used: dict[str, Path | None] = {}
    entries: list[Entry] = []
    for file, warnings in zip(files, warnings_for_files(files, catalog), strict=True):
        if file.name not in used:
            used[file.name] = _file_in_use(catalog.by_name.get(file.name, ()), info)
        reason = _why_not_loaded(file, info, loaded, used[file.name])
        entries.append(_entry(file, reason, warnings, _unsafe_reason(file, info)))
    return entries


def _file_in_use(files: Sequence[ListedFile], info: HostInfo) -> Path | None:
    """Return which of several files with one name the host uses: the last one that it can load and that fits the checkpoint."""
    fitting = [file for file in files if _fits(file.summary, info)]
    fitting.sort(key=lambda file: file.path.suffix.lower() not in UNLOADED)
    return fitting[-1].path if fitting else None


def _fits(summary: FileSummary, info: HostInfo) -> bool:
    return not info.widths or summary.widths == info.widths


def _why_not_loaded(file: ListedFile, info: HostInfo, loaded: LoadedEmbeddings, used: Path | None) -> Message:
    name, summary = file.name, file.summary
    if summary.problem:
        return summary.problem
    if not _fits(summary, info):
        misfit = does_not_fit(name, summary.widths, info.widths, summary.is_half_of_sdxl)
        return misfit if name in loaded.names else loaded.left_out.get(name, misfit)
    if used != file.path:
        return msg('"{path}" has the same name and is used instead.', path=used)
    if name in loaded.names:
        return NOTHING
    if not info.widths and not info.why_no_training:
        return NO_CHECKPOINT
    if name not in loaded.left_out and file.path.suffix.lower() in UNLOADED:
        return why_unloaded(file.path.suffix)
    return loaded.left_out.get(name, msg("It is not loaded yet. Refresh the list."))


def _entry(file: ListedFile, reason: Message, warnings: tuple[Message, ...], unsafe_reason: Message) -> Entry:
    path, summary = file.path, file.summary
    previews = select_previews(file.name, file.sidecars) if file.sidecars else []
    return Entry(
        name=file.name,
        family=summary.family,
        vectors=summary.vectors,
        widths=summary.widths,
        step=summary.step,
        checkpoint=summary.checkpoint,
        file=path,
        folder=file.folder,
        format=summary.format,
        size=file.size,
        hash=summary.hash,
        modified=file.modified,
        loaded=not reason,
        reason=reason,
        preview=path.with_name(previews[0]) if previews else None,
        sidecars=file.sidecars,
        notes=file.notes.notes,
        warnings=warnings,
        unsafe_reason=unsafe_reason,
        can_sanitize=summary.can_sanitize,
    )


def _unsafe_reason(file: ListedFile, info: HostInfo) -> Message:
    """Return why a file is unsafe; files that merely could not be verified are reported only for hosts that execute pickles."""
    reason = file.summary.unsafe_reason
    if not reason or (not info.runs_pickles and reason in UNVERIFIED):
        return NOTHING
    what = msg('"{file}" {reason}.', file=file.path.name, reason=reason)
    if info.runs_pickles:
        return joined((what, msg("{host} executes what such a file imports when it loads embeddings.", host=info.name)), SPACE)
    elsewhere = msg(
        "Nothing in it is executed here, but programs with torch before 2.6, such as Forge out of the box, would execute it."
    )
    return joined((what, elsewhere), SPACE)
