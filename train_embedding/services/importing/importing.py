"""Import embeddings: each file is validated completely before it enters the embeddings folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from train_embedding.embeddings.names import check_name
from train_embedding.errors import InvalidInput, TrainEmbeddingError, UnreadableFile
from train_embedding.messages import NOTHING, SPACE, Message, joined, msg
from train_embedding.services.importing.host_compatibility import HostFile, normalise_for_hosts
from train_embedding.services.importing.sources import IncomingFile, Source, read_sources


def prepare_import(
    sources: Sequence[Source], allowed: tuple[Path, ...] | None, suffixes: Sequence[str], name: str = ""
) -> list[tuple[IncomingFile, HostFile | None]]:
    """Read and check files with their companions, and convert them if hosts cannot read them.

    The two files of an SDXL pair, as written by diffusers' training example, become one embedding.

    Args:
        sources: Paths and uploads.
        allowed: The folders that a shared server may read; None for all.
        suffixes: Suffixes of the files that the host loads, the preferred one first.
        name: The name of the embedding, if the files hold a single one; if empty, each is named after its file.

    Returns:
        For each embedding its source, and the file to write; None if it cannot be imported, with the reason in `problem`.

    Raises:
        InvalidName: The name cannot be used.
        InvalidInput: A name is given for several embeddings.
    """
    if name:
        check_name(name)
    prepared = [_prepare(files, suffixes, name) for files in _find_pairs(read_sources(sources, allowed))]
    if name and len(prepared) > 1:
        raise InvalidInput(
            msg('The name "{name}" cannot be given to {embeddings} embeddings.', name=name, embeddings=len(prepared)),
            msg("Import them one by one, or without a name."),
        )
    return prepared


def _find_pairs(files: Sequence[IncomingFile]) -> list[tuple[IncomingFile, ...]]:
    """Group the two files of each SDXL pair; every other file is a group of its own."""
    from train_embedding.embeddings.formats import first_of_pair

    groups: list[tuple[IncomingFile, ...]] = [(file,) for file in files]
    for second in files:
        wanted = first_of_pair(second.file)
        first = next((group[0] for group in groups if len(group) == 1 and group[0].file == wanted), None)
        if first is not None and _is_pair(first, second):
            groups[groups.index((first,))] = (first, second)
            groups.remove((second,))
    return groups


def _is_pair(first: IncomingFile, second: IncomingFile) -> bool:
    from train_embedding.embeddings.formats import MAX_FILE_SIZE, read_pair

    if first.problem or second.problem or max(len(first.data), len(second.data)) > MAX_FILE_SIZE:
        return False
    try:
        read_pair(first.data, second.data, first.file)
    except UnreadableFile:
        return False
    return True


def _prepare(files: tuple[IncomingFile, ...], suffixes: Sequence[str], name: str) -> tuple[IncomingFile, HostFile | None]:
    """Prepare a file or a pair for writing; None if it cannot be imported, with the reason in `problem`."""
    file = files[0]
    if file.problem:
        return file, None
    try:
        if len(files) == 2:
            ready = _join(*files, suffixes[0], name)
            file = replace(file, file=msg("{first} and {second}", first=file.file, second=files[1].file))
        else:
            ready = normalise_for_hosts(file.file, file.data, suffixes, name)
            file = replace(file, note=joined((file.note, _suggest_other_half(file)), SPACE))
    except TrainEmbeddingError as error:
        return replace(file, problem=error.text), None
    return replace(file, note=joined((ready.note, file.note), SPACE)), ready


def _join(first: IncomingFile, second: IncomingFile, suffix: str, name: str) -> HostFile:
    """Join the files of a pair, which hold the vectors for one of SDXL's text encoders each."""
    from train_embedding.embeddings.formats import encode, read_pair

    embedding = read_pair(first.data, second.data, first.file)
    embedding = replace(embedding, name=name or embedding.name)
    note = msg(
        '"{first}" and "{second}" were combined into "{file}", with vectors for both text encoders of SDXL.',
        first=first.file,
        second=second.file,
        file=f"{embedding.name}{suffix}",
    )
    return HostFile(embedding.name, suffix, encode(embedding, "sdxl", suffix), note)


def _suggest_other_half(file: IncomingFile) -> Message:
    """Suggest to import the other file of an SDXL pair too; empty if the file does not seem to belong to a pair."""
    from train_embedding.embeddings.formats import first_of_pair, read_bytes, second_of_pair

    first, second = first_of_pair(file.file), second_of_pair(file.file)
    if first and list(read_bytes(file.data, file.file).vectors) == ["clip_g"]:
        other = first
    elif second and file.folder is not None and (file.folder / second).is_file():
        other = second
    else:
        return NOTHING
    return msg(
        '"{file}" has vectors for only one of SDXL\'s two text encoders. Import "{other}" together with it.',
        file=file.file,
        other=other,
    )
