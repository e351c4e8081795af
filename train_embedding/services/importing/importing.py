"""Files from elsewhere: read to the end and judged before anything of them lies where a host would load it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from train_embedding.embeddings.names import check_name
from train_embedding.errors import InvalidInput, StorageFailed, TrainEmbeddingError, UnreadableFile
from train_embedding.services.importing.companions import Beside
from train_embedding.services.importing.host_compatibility import CONVERTED, Judged, judged
from train_embedding.services.importing.sources import Arrival, Source, arrived
from train_embedding.services.store.store import Shelf


@dataclass(frozen=True)
class Ready:
    """A file that may be put into the embeddings folder, with what comes along."""

    judged: Judged
    note: str
    beside: tuple[Beside, ...] = ()
    other: str = ""
    "The file that holds the vectors for the other one of SDXL's text encoders, where this one holds those for one."


@dataclass(frozen=True)
class Outcome:
    """What became of one file, before the library is listed again."""

    file: str
    path: Path | None = None
    problem: str = ""
    note: str = ""


def import_all(
    shelf: Shelf, sources: Sequence[Source], allowed: tuple[Path, ...] | None, overwrite: bool, folder: str, name: str = ""
) -> list[Outcome]:
    """Puts files into a folder below the embeddings folder, each with what came beside it, as one those two that belong together.

    name: of the one embedding that the files hold; left out, each is called as its file is. Raises StorageFailed, InvalidName,
    and InvalidInput for several embeddings and one name; the outcomes tell what else is wrong, one for each embedding.
    """
    if name:
        check_name(name)
    ready = _joined([_ready(arrival, name) for arrival in arrived(sources, allowed)], name)
    if name and len(ready) > 1:
        raise InvalidInput(f'"{name}" can be the name of one embedding, not of {len(ready)}.', "Import them one by one.")
    return [one if isinstance(one, Outcome) else _import_one(shelf, one, overwrite, folder) for one in ready]


def _import_one(shelf: Shelf, ready: Ready, overwrite: bool, folder: str) -> Outcome:
    one = ready.judged
    try:
        if overwrite:
            shelf.training_locks.check_free(one.name)
        file = shelf.place(one.name, one.suffix, folder)
        path = shelf.put(
            one.name,
            lambda _suffix: one.data,
            file,
            overwrite,
            lambda target: [(beside.at(target), beside.data) for beside in ready.beside],
        )
        return Outcome(one.file, path, note=ready.note)
    except StorageFailed:
        raise
    except TrainEmbeddingError as error:
        return Outcome(one.file, problem=str(error))


def _ready(arrival: Arrival, name: str) -> Ready | Outcome:
    if arrival.problem:
        return Outcome(arrival.file, problem=arrival.problem)
    try:
        one = judged(arrival.file, arrival.data, name)
    except TrainEmbeddingError as error:
        return Outcome(arrival.file, problem=str(error))
    return Ready(one, " ".join(filter(None, (one.note, arrival.note))), arrival.beside, _other_of_pair(arrival))


def _other_of_pair(arrival: Arrival) -> str:
    """The name of the file that diffusers' SDXL example writes with this one; empty where there is nothing to say so."""
    from train_embedding.embeddings.formats import first_of_pair, read_bytes, second_of_pair

    first, second = first_of_pair(arrival.file), second_of_pair(arrival.file)
    if first and list(read_bytes(arrival.data, arrival.file).vectors) == ["clip_g"]:
        return first
    return second if second and arrival.folder is not None and (arrival.folder / second).is_file() else ""


def _joined(files: Sequence[Ready | Outcome], name: str) -> list[Ready | Outcome]:
    """The files with the two of each pair as one: diffusers' example writes one for each of SDXL's text encoders."""
    from train_embedding.embeddings.formats import first_of_pair

    left = list(files)
    for second in files:
        if not isinstance(second, Ready):
            continue
        wanted = first_of_pair(second.judged.file)
        first = next((one for one in left if isinstance(one, Ready) and one.judged.file == wanted), None)
        pair = first and _pair(first, second, name)
        if first is not None and pair is not None:
            left[left.index(first)] = pair
            left.remove(second)
    return [_with_hint(one) if isinstance(one, Ready) else one for one in left]


def _with_hint(ready: Ready) -> Ready:
    if not ready.other:
        return ready
    hint = f'"{ready.judged.file}" holds vectors for one of SDXL\'s two text encoders. Import "{ready.other}" together with it.'
    return replace(ready, note=f"{ready.note} {hint}".lstrip())


def _pair(first: Ready, second: Ready, name: str) -> Ready | None:
    """The one embedding that two files hold; None where each is one of its own."""
    from train_embedding.embeddings.formats import encode, read_pair

    one, two = first.judged, second.judged
    try:
        embedding = read_pair(one.original, two.original, one.file)
        embedding = replace(embedding, name=name or embedding.name)
    except UnreadableFile:
        return None
    _, suffix = CONVERTED
    note = f'"{one.file}" and "{two.file}" became "{embedding.name}{suffix}": vectors for both text encoders of SDXL.'
    both = Judged(f"{one.file} and {two.file}", embedding.name, suffix, encode(embedding, "sdxl", suffix))
    return Ready(both, note, first.beside)
