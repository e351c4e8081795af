"""Export of embeddings: as they are, in another format, for another program, or to share them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from train_embedding.embeddings.names import check_name
from train_embedding.embeddings.programs import PROGRAMS, SUFFIX, Program, get_program, name_in
from train_embedding.embeddings.storage import write_atomically
from train_embedding.engine.prompts.tokenizer import in_vocabulary
from train_embedding.errors import Conflict, InvalidInput
from train_embedding.messages import NOTHING, Message, joined, msg
from train_embedding.services.formats import SUFFIXES, format_for, suffixes_of, with_new_name
from train_embedding.services.library.entries import Entry
from train_embedding.services.library.shares import CARD, SHARES
from train_embedding.services.library.sharing import make_archive, make_card, usage_of

if TYPE_CHECKING:
    from train_embedding.embeddings.embedding import Embedding

__all__ = ["AS_IT_IS", "PROGRAMS", "SHARES", "Exported", "Wanted", "Written", "make_export", "make_share", "write_export"]


@dataclass(frozen=True)
class Wanted:
    """The kind of file to export."""

    format: str = ""
    "One of `formats.SUFFIXES`; empty for the format of the embedding's file."
    suffix: str = ""
    "Such as `.bin`, for formats with several; empty for the first of the format."
    program: str = ""
    "One of `programs.PROGRAMS`, which determines format and suffix, or of `sharing.SHARES`; empty for none."
    license: str = ""
    "For an archive, the license that its texts state."


AS_IT_IS = Wanted()


@dataclass(frozen=True)
class Exported:
    """An exported file."""

    file_name: str
    data: bytes
    trigger: str = ""
    "For an export to a program or for sharing, the trigger word in prompts."
    usage: Message = NOTHING
    "For an export to a program or for sharing, what to do with the file."


@dataclass(frozen=True)
class Written:
    """An export that was written to a path; the other fields are those of `Exported`."""

    path: Path
    trigger: str = ""
    usage: Message = NOTHING


def make_export(file: Path, wanted: Wanted = AS_IT_IS, stem: str = "") -> Exported:
    """Export an embedding: its own file, unless another format, suffix or program is wanted.

    Args:
        file: The embedding.
        wanted: The kind of file.
        stem: The stem of the new file name; empty for the name of the embedding.

    Raises:
        NotFound: The file does not exist.
        UnreadableFile: It cannot be read.
        InvalidName: The stem cannot be used.
        InvalidInput: The format, suffix or program cannot be used.
    """
    from train_embedding.embeddings.formats import encode, read_bytes, read_contents

    data = read_contents(file)
    embedding = read_bytes(data, file.name)
    if stem:
        check_name(stem)
    if wanted.program:
        return _for_program(embedding, wanted, stem)
    named = replace(embedding, name=stem or embedding.name)
    suffix = wanted.suffix.lower()
    if not wanted.format and suffix in ("", file.suffix.lower()):
        renamed = with_new_name(file, named.name) if named.name != embedding.name else None
        return Exported(f"{named.name}{file.suffix}", data if renamed is None else renamed)
    format_name = wanted.format or format_for(suffix)
    suffix = suffix or suffixes_of(format_name)[0]
    return Exported(f"{named.name}{suffix}", encode(named, format_name, suffix))


def write_export(
    target: Path, wanted: Wanted, export: Callable[[Wanted, str], Exported], own_suffix: str, overwrite: bool = False
) -> Written:
    """Write an export into an existing folder, or to a file whose suffix then selects the format.

    Args:
        target: The folder or file.
        wanted: The kind of file.
        export: The function that makes the export, given the kind of file and the stem of its name.
        own_suffix: The suffix of the embedding's file.
        overwrite: Whether to replace a file.

    Raises:
        InvalidInput: The suffix is not one of embedding files, or contradicts what is wanted.
        Conflict: The file exists, and `overwrite` is not given.
        StorageFailed: The file cannot be written.
    """
    is_folder = target.is_dir()
    if is_folder or wanted.program in SHARES:
        made = export(wanted, "")
    else:
        made = export(_for_file(target, wanted, own_suffix), target.stem)
    path = target / made.file_name if is_folder else target
    if path.suffix.lower() != Path(made.file_name).suffix.lower() and wanted.program in SHARES:
        hint = msg("Use an existing folder, or a file name that ends with {suffix}.", suffix=SHARES[wanted.program].suffix)
        raise InvalidInput(msg('"{path}" is neither a folder nor the name of such a file.', path=target), hint)
    if path.exists() and not overwrite:
        raise Conflict(msg('"{name}" already exists.', name=path), msg("Choose another file, or use --overwrite."))
    write_atomically(path, made.data)
    return Written(path, made.trigger, made.usage)


def make_share(entry: Entry, embedding: Embedding, wanted: Wanted, runs_folder: Path) -> Exported:
    """Export an embedding in one of the ways of `SHARES`.

    Args:
        entry: The embedding.
        embedding: Its vectors.
        wanted: The way, as its program, and the license.
        runs_folder: The runs, one of which may have trained it.

    Raises:
        InvalidInput: A format or suffix is given too, or the embedding cannot be shared in this way.
        UnreadableFile: Its preview image cannot be read.
    """
    share = SHARES[wanted.program]
    if wanted.format or wanted.suffix.lower() not in ("", share.suffix):
        raise InvalidInput(
            msg("The {share} is always a {suffix} file.", share=share.title, suffix=share.suffix),
            msg("Leave out the format and the suffix."),
        )
    if wanted.program == CARD:
        file_name, data = f"{entry.name}.png", make_card(entry, embedding, runs_folder)
    else:
        file_name = f"{entry.name}-civitai.zip"
        data = make_archive(entry, embedding, runs_folder, wanted.license)
    return Exported(file_name, data, entry.name, usage_of(wanted.program, file_name))


def _for_file(target: Path, wanted: Wanted, own_suffix: str) -> Wanted:
    suffix = target.suffix.lower()
    every = dict.fromkeys(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)
    if suffix not in (*every, own_suffix.lower()):
        hint = msg("Use an existing folder, or a file name that ends with one of {suffixes}.", suffixes=joined(every))
        raise InvalidInput(msg('"{path}" is neither a folder nor the name of an embedding file.', path=target), hint)
    if wanted.suffix and wanted.suffix.lower() != suffix:
        raise InvalidInput(
            msg('"{name}" does not end with "{suffix}".', name=target.name, suffix=wanted.suffix),
            msg("Leave out one of the two."),
        )
    if wanted.format and suffix not in suffixes_of(wanted.format):
        hint = msg("Use one of {names}.", names=joined(suffixes_of(wanted.format)))
        raise InvalidInput(msg('The format "{format}" has no "{suffix}" files.', format=wanted.format, suffix=suffix), hint)
    return replace(wanted, suffix=suffix)


def _for_program(embedding: Embedding, wanted: Wanted, stem: str) -> Exported:
    from train_embedding.embeddings.formats import encode

    program = get_program(wanted.program)
    if wanted.format or wanted.suffix.lower() not in ("", SUFFIX):
        raise InvalidInput(
            msg("Exports for {program} are always {suffix} files in its own format.", program=program.title, suffix=SUFFIX),
            msg("Leave out the format and the suffix."),
        )
    if stem and not program.accepts(stem, in_vocabulary):
        raise InvalidInput(
            msg('"{name}" does not work as a trigger word in {program}.', name=stem, program=program.title),
            _suggest_name(program, stem),
        )
    name = stem or name_in(program, embedding.name, in_vocabulary)
    data = encode(replace(embedding, name=name), program.format, SUFFIX)
    file_name, trigger = f"{name}{SUFFIX}", program.trigger.format(name=name)
    usage = program.usage_sdxl if len(embedding.vectors) > 1 and program.usage_sdxl else program.usage
    return Exported(file_name, data, trigger, usage(file_name, trigger))


def _suggest_name(program: Program, stem: str) -> Message:
    try:
        name = f"{name_in(program, stem, in_vocabulary)}{SUFFIX}"
        return msg("Choose another file name, such as {name}.", name=name)
    except InvalidInput as error:
        return error.hint
