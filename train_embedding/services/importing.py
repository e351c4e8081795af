"""Files from elsewhere: read to the end and judged before anything of them lies where a host would load it."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, cast

from train_embedding.embeddings.names import check_name
from train_embedding.errors import InvalidInput, NotAllowed, NotFound, StorageFailed, TrainEmbeddingError, UnreadableFile
from train_embedding.services.shelf import Shelf

if TYPE_CHECKING:
    from train_embedding.services.entries import Entry

Source = Path | tuple[str, bytes]
"A path, or the name and the content of an upload."
CONVERTED = ("webui", ".pt")
"Form and suffix that every host reads."

_ZIP_MEMBER = re.compile(r"[^/]+/(data/\d+|version|byteorder|\.data/serialization_id|data\.pkl)")
"What the safe unpickler of WebUI 1.10.1 lets through."
_UNEXPECTED = "the WebUI expects one tensor, or clip_l and clip_g, and nothing besides"


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

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "entry": None if self.entry is None else self.entry.to_json()}


@dataclass(frozen=True)
class Judged:
    """A file that may be put into the embeddings folder."""

    file: str
    "The name that it came with."
    name: str
    suffix: str
    data: bytes
    note: str = ""
    original: bytes = b""
    "As it came."


@dataclass(frozen=True)
class Outcome:
    """What became of one file, before the library is listed again."""

    file: str
    path: Path | None = None
    problem: str = ""
    note: str = ""

    def imported(self, entries: Mapping[Path, Entry]) -> Imported:
        return Imported(self.file, None if self.path is None else entries.get(self.path), self.problem, self.note)


def import_all(
    shelf: Shelf, sources: Sequence[Source], allowed: tuple[Path, ...] | None, overwrite: bool, folder: str
) -> list[Outcome]:
    """Puts files into a folder below the embeddings folder, as one those two that belong together.

    Raises StorageFailed; the outcomes tell what else is wrong, one for each file or pair.
    """
    ready = _joined([_judged_source(source, allowed) for source in sources])
    return [one if isinstance(one, Outcome) else _import_one(shelf, one, overwrite, folder) for one in ready]


def _import_one(shelf: Shelf, ready: Judged, overwrite: bool, folder: str) -> Outcome:
    try:
        if overwrite:
            shelf.refuse_held(ready.name)
        file = shelf.place(ready.name, ready.suffix, folder)
        return Outcome(ready.file, shelf.put(ready.name, lambda _suffix: ready.data, file, overwrite), note=ready.note)
    except StorageFailed:
        raise
    except TrainEmbeddingError as error:
        return Outcome(ready.file, problem=str(error))


def _judged_source(source: Source, allowed: tuple[Path, ...] | None) -> Judged | Outcome:
    try:
        return judged(*received(source, allowed))
    except TrainEmbeddingError as error:
        return Outcome(source.name if isinstance(source, Path) else source[0], problem=str(error))


def _joined(files: Sequence[Judged | Outcome]) -> list[Judged | Outcome]:
    """The files with the two of each pair as one: diffusers' example writes one for each of SDXL's text encoders."""
    from train_embedding.embeddings.formats import first_of_pair

    left = list(files)
    for second in files:
        first = next((one for one in left if isinstance(one, Judged) and one.file == first_of_pair(second.file)), None)
        if first is None or not isinstance(second, Judged):
            continue
        pair = _pair(first, second)
        if pair is not None:
            left[left.index(first)] = pair
            left.remove(second)
    return left


def _pair(first: Judged, second: Judged) -> Judged | None:
    """The one embedding that two files hold; None where each is one of its own."""
    from train_embedding.embeddings.formats import encode, read_pair

    try:
        embedding = read_pair(first.original, second.original, first.file)
    except UnreadableFile:
        return None
    _, suffix = CONVERTED
    note = f'"{first.file}" and "{second.file}" became "{embedding.name}{suffix}": vectors for both text encoders of SDXL.'
    return Judged(f"{first.file} and {second.file}", embedding.name, suffix, encode(embedding, "sdxl", suffix), note)


def received(source: Source, allowed: tuple[Path, ...] | None) -> tuple[str, bytes]:
    """The name and the bytes of an upload, or of a file at a path that may be read.

    allowed: the folders that a shared server may read, None for all. Raises NotAllowed, NotFound, UnreadableFile.
    """
    from train_embedding.embeddings.formats import MAX_FILE_SIZE

    if not isinstance(source, Path):
        return source
    path = _resolved(source)
    # Asked first: on a shared server nobody shall find out which files exist elsewhere.
    if allowed is not None and not any(path.is_relative_to(folder.resolve()) for folder in allowed):
        raise NotAllowed(
            f'"{source}" lies outside the folders that may be used on this server.',
            f"Allowed are {', '.join(map(str, allowed))}." if allowed else "",
        )
    try:
        if not path.exists():
            raise NotFound(f'There is no file "{source}".')
        if not path.is_file():
            raise UnreadableFile(f'"{source}" is not a regular file.', "Name the files in a folder one by one.")
        with path.open("rb") as file:
            data = file.read(MAX_FILE_SIZE + 1)
    except OSError as error:
        raise UnreadableFile(f'"{source}" cannot be read: {error.strerror or error}.') from error
    return source.name, data


def judged(file_name: str, data: bytes) -> Judged:
    """The bytes as they are where hosts can read them, else the same vectors in the form that all can.

    Raises InvalidName, and UnreadableFile for whatever is no embedding.
    """
    from train_embedding.embeddings.formats import MAX_FILE_SIZE, encode, read_bytes

    path = PurePath(file_name)
    check_name(path.stem if path.name == file_name else file_name)
    if not data:
        raise UnreadableFile(f'"{file_name}" is empty.')
    if len(data) > MAX_FILE_SIZE:
        raise UnreadableFile(f'"{file_name}" is larger than {MAX_FILE_SIZE // 2**20} MB, too large for an embedding.')
    embedding = read_bytes(data, file_name)
    problem = why_not_as_it_is(data, path.suffix.lower(), embedding.metadata.get("name", ""))
    if not problem:
        return Judged(file_name, path.stem, path.suffix, data, original=data)
    form, suffix = CONVERTED
    note = f'"{file_name}" was written anew as "{path.stem}{suffix}" with the same vectors: {problem}.'
    return Judged(file_name, path.stem, suffix, encode(embedding, form, suffix), note, data)


def why_not_as_it_is(data: bytes, suffix: str, called: str = "") -> str:
    """Why hosts could not read a file that can be read here, the end of a sentence; empty where they can.

    called: the name that the file itself gives the embedding, where that is another than the file's. Judged by what WebUI 1.10.1
    does (modules/textual_inversion/textual_inversion.py, modules/safe.py).
    """
    if suffix == ".safetensors":
        length = int.from_bytes(data[:8], "little")
        keys = set(json.loads(data[8 : 8 + length])) - {"__metadata__"}
        return "" if _is_expected(keys) else _UNEXPECTED
    if suffix not in (".pt", ".bin"):  # a picture, which the WebUI calls what stands in it
        return f'the WebUI would call it "{called}"' if called else ""
    if data.startswith(b"PK") and not _is_plain_zip(data):
        return "its archive is none that the WebUI's safe reader takes"
    return _why_not_by_torch(data)


def _why_not_by_torch(data: bytes) -> str:
    """Some hosts hand such files to torch as they come, so torch's own reader must find in them what ours did, and no more."""
    import torch

    # Not `torch.load`: the WebUI replaces that name by a function that takes paths only and returns None on failure.
    from torch.serialization import load

    try:
        values: object = load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception:  # noqa: BLE001 - a pickle can raise nearly anything; our own reader has told what was wrong, if anything
        return "torch does not read it as plain data"
    if type(values) is not dict:
        return "it holds no plain dictionary"
    named = cast("dict[str, object]", values)
    if "string_to_param" in named:
        parameters = named["string_to_param"]
        return "" if isinstance(parameters, dict) and len(cast("dict[str, object]", parameters)) == 1 else _UNEXPECTED
    only_tensors = all(isinstance(value, torch.Tensor) for value in named.values())
    return "" if only_tensors and _is_expected(set(named)) else _UNEXPECTED


def _is_expected(keys: set[str]) -> bool:
    return len(keys) == 1 or keys == {"clip_l", "clip_g"}


def _is_plain_zip(data: bytes) -> bool:
    """Whether the archive has only the members that the WebUI allows, and means the same to torch as to Python.

    An archive can be built so that the two find different contents in it; then torch might execute what was never checked.
    """
    import torch

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        if not all(map(_ZIP_MEMBER.fullmatch, members)):
            return False
        reader: Any = torch._C.PyTorchFileReader(io.BytesIO(data))  # pyright: ignore[reportPrivateUsage, reportUnknownMemberType, reportArgumentType]
        records = {str(record) for record in reader.get_all_records()}
        inside = {name.partition("/")[2]: content for name, content in members.items()}
        return records == set(inside) and all(reader.get_record(name) == content for name, content in inside.items())
    except (RuntimeError, zipfile.BadZipFile, KeyError, NotImplementedError):
        return False


def _resolved(path: Path) -> Path:
    try:
        return path.expanduser().resolve()
    except (ValueError, RuntimeError, OSError) as error:
        raise InvalidInput(f'"{path}" does not name a file: {error}.') from error
