"""Import embedding files: nothing is written to where a host would load it before all of it has been read and checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from train_embedding.embeddings.names import check_name
from train_embedding.errors import InvalidInput, TrainEmbeddingError, UnreadableFile
from train_embedding.services.importing.host_compatibility import CONVERTED, HostFile, normalise_for_hosts
from train_embedding.services.importing.sources import IncomingFile, Source, read_sources


def prepare_import(
    sources: Sequence[Source], allowed: tuple[Path, ...] | None, name: str = ""
) -> list[tuple[IncomingFile, HostFile | None]]:
    """Read files with their companions, check them, and make of each what is to be written.

    The two files that diffusers' example writes for SDXL's text encoders become one embedding.

    Args:
        sources: Paths and uploads.
        allowed: The folders that a shared server may read; None for all.
        name: What to call the one embedding that the files hold; if empty, each is called as its file.

    Returns:
        For each embedding the file that it came in, and what to write, or None if the file's `problem` says why not.

    Raises:
        InvalidName: The name cannot be used.
        InvalidInput: There is a name for several embeddings.
    """
    if name:
        check_name(name)
    prepared = [_prepare(files, name) for files in _find_pairs(read_sources(sources, allowed))]
    if name and len(prepared) > 1:
        raise InvalidInput(f'"{name}" can be the name of one embedding, not of {len(prepared)}.', "Import them one by one.")
    return prepared


def _find_pairs(files: Sequence[IncomingFile]) -> list[tuple[IncomingFile, ...]]:
    """Put the two files of each pair together; every other file stays alone."""
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


def _prepare(files: tuple[IncomingFile, ...], name: str) -> tuple[IncomingFile, HostFile | None]:
    """Make of one file or of a pair what is to be written, or None where the file's `problem` says why not."""
    file = files[0]
    if file.problem:
        return file, None
    try:
        if len(files) == 2:
            ready = _join(*files, name)
            file = replace(file, file=f"{file.file} and {files[1].file}")
        else:
            ready = normalise_for_hosts(file.file, file.data, name)
            file = replace(file, note=" ".join(filter(None, (file.note, _hint_at_pair(file)))))
    except TrainEmbeddingError as error:
        return replace(file, problem=str(error)), None
    return replace(file, note=" ".join(filter(None, (ready.note, file.note)))), ready


def _join(first: IncomingFile, second: IncomingFile, name: str) -> HostFile:
    """Join the files of a pair, one for each of SDXL's text encoders."""
    from train_embedding.embeddings.formats import encode, read_pair

    embedding = read_pair(first.data, second.data, first.file)
    embedding = replace(embedding, name=name or embedding.name)
    _, suffix = CONVERTED
    note = f'"{first.file}" and "{second.file}" became "{embedding.name}{suffix}": vectors for both text encoders of SDXL.'
    return HostFile(embedding.name, suffix, encode(embedding, "sdxl", suffix), note)


def _hint_at_pair(file: IncomingFile) -> str:
    """A sentence about the other file of the pair that this one belongs to; empty if nothing shows that there is one."""
    from train_embedding.embeddings.formats import first_of_pair, read_bytes, second_of_pair

    first, second = first_of_pair(file.file), second_of_pair(file.file)
    if first and list(read_bytes(file.data, file.file).vectors) == ["clip_g"]:
        other = first
    elif second and file.folder is not None and (file.folder / second).is_file():
        other = second
    else:
        return ""
    return f'"{file.file}" holds vectors for one of SDXL\'s two text encoders. Import "{other}" together with it.'
