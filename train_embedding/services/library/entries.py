"""Embedding files as lists show them: what they hold, whether the host uses them, and what a person should know of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from train_embedding.embeddings.text_encoders import does_not_fit
from train_embedding.hosts.base import HostInfo, LoadedEmbeddings
from train_embedding.services.formats import UNLOADED
from train_embedding.services.library.file_summary import UNVERIFIED, FileSummary
from train_embedding.services.library.listing import Catalog, ListedFile
from train_embedding.services.library.warnings import warnings_for_files, why_unloaded
from train_embedding.services.sidecars.files import select_previews
from train_embedding.services.sidecars.notes import NO_NOTES, Notes


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
    folder: str = ""
    'Of the embeddings folder, with slashes, such as "styles/old"; empty for the folder itself.'
    format: str = ""
    "The name of its format; empty where it cannot be read."
    size: int = 0
    "Bytes."
    hash: str = ""
    "What the WebUI writes after the name under a picture (TI hashes); empty where the file cannot be read."
    modified: float = 0.0
    "Seconds since 1970."
    sidecars: tuple[str, ...] = ()
    "Names of the files beside it that go with it."
    notes: Notes = NO_NOTES
    warnings: tuple[str, ...] = ()
    "Sentences: names that collide, vectors that are there twice."
    unsafe_reason: str = ""
    "Why a program that runs pickles should not load the file, two sentences; empty where it is not unsafe."
    can_sanitize: bool = False
    "Whether `Library.sanitize` can read its vectors and replace the file."

    @property
    def path(self) -> str:
        """Of the file, below the embeddings folder, with slashes."""
        return f"{self.folder}/{self.file.name}".lstrip("/")


@dataclass(frozen=True)
class Imported:
    """What became of one file."""

    file: str
    "The name that it came with."
    entry: Entry | None = None
    "None where it was not imported."
    problem: str = ""
    "Why not, a sentence."
    note: str = ""
    "What was done to it, a sentence; empty where it was kept byte for byte."


def make_entries(files: Sequence[ListedFile], catalog: Catalog, info: HostInfo, loaded: LoadedEmbeddings) -> list[Entry]:
    """Make the entries of some files of a catalog, in their order.

    Args:
        files: The files.
        catalog: All files, in the order in which the host reads them.
        info: The host, with the checkpoint that is loaded.
        loaded: The embeddings that the host has read.
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
    """Of files with one name, the host uses the last one that fits the checkpoint and that it can load."""
    fitting = [file for file in files if _fits(file.summary, info)]
    fitting.sort(key=lambda file: file.path.suffix.lower() not in UNLOADED)
    return fitting[-1].path if fitting else None


def _fits(summary: FileSummary, info: HostInfo) -> bool:
    return not info.widths or summary.widths == info.widths


def _why_not_loaded(file: ListedFile, info: HostInfo, loaded: LoadedEmbeddings, used: Path | None) -> str:
    name, summary = file.name, file.summary
    if summary.problem:
        return summary.problem
    if not _fits(summary, info):
        misfit = does_not_fit(name, summary.widths, info.widths, summary.is_half_of_sdxl)
        return misfit if name in loaded.names else loaded.left_out.get(name, misfit)
    if used != file.path:
        return f'The host uses "{used}", which has the same name.'
    if name in loaded.names:
        return ""
    if not info.widths:
        return "No checkpoint is loaded."
    if name not in loaded.left_out and file.path.suffix.lower() in UNLOADED:
        return why_unloaded(file.path.suffix)
    return loaded.left_out.get(name, "The host has not read it yet; refresh the list.")


def _entry(file: ListedFile, reason: str, warnings: tuple[str, ...], unsafe_reason: str) -> Entry:
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


def _unsafe_reason(file: ListedFile, info: HostInfo) -> str:
    """The two sentences; a file that is only unverifiable is not reported to a host that runs no pickles."""
    reason = file.summary.unsafe_reason
    if not reason or (not info.runs_pickles and reason in UNVERIFIED):
        return ""
    what = f'"{file.path.name}" {reason}.'
    if info.runs_pickles:
        return f"{what} {info.name} runs whatever such a file imports when it reads the folder."
    return f"{what} Nothing in it is run here; a program with torch before 2.6, such as Forge as it is installed, would run it."
