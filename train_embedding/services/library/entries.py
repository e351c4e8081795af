"""Embedding files as lists show them: what they hold, whether the host uses them, and what a person should know of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from train_embedding.embeddings.text_encoders import model_of
from train_embedding.hosts.base import HostInfo, LoadedEmbeddings
from train_embedding.services.library.file_summary import UNVERIFIED, Content
from train_embedding.services.library.listing import Found
from train_embedding.services.library.warnings import remarks_of, why_unloaded
from train_embedding.services.sidecars.files import previews_of
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
    "The form that the file has; empty where it cannot be read."
    size: int = 0
    "Bytes."
    hash: str = ""
    "What the WebUI writes after the name under a picture (TI hashes); empty where the file cannot be read."
    modified: float = 0.0
    "Seconds since 1970."
    sidecars: tuple[str, ...] = ()
    "Names of the files beside it that go with it."
    notes: Notes = NO_NOTES
    remarks: tuple[str, ...] = ()
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


def entries_of(found: Sequence[Found], info: HostInfo, loaded: LoadedEmbeddings) -> list[Entry]:
    """One entry per file, in the order of `found`, which is the order in which the host comes to them."""
    # Of files with one name the host uses the last one that fits the checkpoint.
    fitting = [one for one in found if not one.content.problem and _fits(one.content, info)]
    fitting.sort(key=lambda one: not why_unloaded(one.path.suffix))
    used = {one.name: one.path for one in fitting}
    remarks = remarks_of(found, lambda one: one.path.relative_to(info.embeddings_folder).as_posix())
    reasons = [_why_not_loaded(one, info, loaded, used) for one in found]
    unsafe_reasons = [_unsafe_reason(one, info) for one in found]
    return [_entry(*facts) for facts in zip(found, reasons, remarks, unsafe_reasons, strict=True)]


def _fits(content: Content, info: HostInfo) -> bool:
    return not info.widths or content.widths == info.widths


def _why_not_loaded(found: Found, info: HostInfo, loaded: LoadedEmbeddings, used: dict[str, Path]) -> str:
    path, name, content = found.path, found.name, found.content
    if content.problem:
        return content.problem
    if not _fits(content, info):
        model = "one of SDXL's two text encoders" if content.is_half_of_sdxl else model_of(content.widths)
        made_for = f"It was made for {model}; the loaded checkpoint is {model_of(info.widths)}."
        return made_for if name in loaded.names else loaded.left_out.get(name, made_for)
    if used[name] is not path:
        return f'The host uses "{used[name]}", which has the same name.'
    if name in loaded.names:
        return ""
    if not info.widths:
        return "No checkpoint is loaded."
    return loaded.left_out.get(name, why_unloaded(path.suffix) or "The host has not read it yet; refresh the list.")


def _entry(found: Found, reason: str, remarks: tuple[str, ...], unsafe_reason: str) -> Entry:
    path, content = found.path, found.content
    previews = previews_of(found.name, found.sidecars) if found.sidecars else []
    return Entry(
        name=found.name,
        family=content.family,
        vectors=content.vectors,
        widths=content.widths,
        step=content.step,
        checkpoint=content.checkpoint,
        file=path,
        folder=found.folder,
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
        unsafe_reason=unsafe_reason,
        can_sanitize=content.can_sanitize,
    )


def _unsafe_reason(found: Found, info: HostInfo) -> str:
    """The two sentences; a file that is only unverifiable is not reported to a host that runs no pickles."""
    reason = found.content.unsafe_reason
    if not reason or (not info.runs_pickles and reason in UNVERIFIED):
        return ""
    what = f'"{found.path.name}" {reason}.'
    if info.runs_pickles:
        return f"{what} {info.name} runs whatever such a file imports when it reads the folder."
    return f"{what} Nothing in it is run here; a program with torch before 2.6, such as Forge as it is installed, would run it."
