"""Whether hosts can read a file as it is; where not, the same vectors in the form that all can."""

from __future__ import annotations

import io
import json
import re
import warnings
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any, cast

from train_embedding.embeddings.names import check_name
from train_embedding.errors import UnreadableFile
from train_embedding.services.formats import UNLOADED

CONVERTED = ("webui", ".pt")
"Form and suffix that every host reads."

_ZIP_MEMBER = re.compile(r"[^/]+/(data/\d+|version|byteorder|\.data/serialization_id|data\.pkl)")
"What the safe unpickler of WebUI 1.10.1 lets through."
_UNEXPECTED = "the WebUI expects one tensor, or clip_l and clip_g, and nothing besides"


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


def judged(file_name: str, data: bytes, name: str = "") -> Judged:
    """The bytes as they are where hosts can read them, else the same vectors in the form that all can.

    name: of the embedding; left out, the file's stem. Raises InvalidName, and UnreadableFile for whatever is no embedding.
    """
    from train_embedding.embeddings.formats import MAX_FILE_SIZE, encode, read_bytes

    path = PurePath(file_name)
    name = name or (path.stem if path.name == file_name else file_name)
    check_name(name)
    if not data:
        raise UnreadableFile(f'"{file_name}" is empty.')
    if len(data) > MAX_FILE_SIZE:
        raise UnreadableFile(f'"{file_name}" is larger than {MAX_FILE_SIZE // 2**20} MB, too large for an embedding.')
    embedding = read_bytes(data, file_name)
    called = embedding.metadata.get("name", embedding.name)
    problem = why_not_as_it_is(data, path.suffix.lower(), "" if called == name else called)
    if not problem:
        return Judged(file_name, name, path.suffix, data, original=data)
    form, suffix = CONVERTED
    note = f'"{file_name}" was written anew as "{name}{suffix}" with the same vectors: {problem}.'
    return Judged(file_name, name, suffix, encode(replace(embedding, name=name), form, suffix), note, data)


def why_not_as_it_is(data: bytes, suffix: str, called: str = "") -> str:
    """Why hosts could not read a file that can be read here, the end of a sentence; empty where they can.

    called: the name that the file itself gives the embedding, where that is another than the file's. Judged by what WebUI 1.10.1
    does (modules/textual_inversion/textual_inversion.py, modules/safe.py).
    """
    from train_embedding.embeddings.formats.unsafe import unsafe_reason

    if suffix in UNLOADED:
        return f"the WebUI does not load {suffix} files"
    if suffix == ".safetensors":
        length = int.from_bytes(data[:8], "little")
        keys = set(json.loads(data[8 : 8 + length])) - {"__metadata__"}
        return "" if _is_expected(keys) else _UNEXPECTED
    if suffix not in (".pt", ".bin"):  # a picture, which the WebUI calls what stands in it
        return f'the WebUI would call it "{called}"' if called else ""
    if data.startswith(b"PK") and not _is_plain_zip(data):
        return "its archive is none that the WebUI's safe reader takes"
    if unsafe_reason(data, f"embedding{suffix}"):
        return "other programs may find something else in it"
    return _why_not_by_torch(data)


def _why_not_by_torch(data: bytes) -> str:
    """Some hosts hand such files to torch as they come, so torch's own reader must find in them what ours did, and no more."""
    import torch

    # Not `torch.load`: the WebUI replaces that name by a function that takes paths only and returns None on failure.
    from torch.serialization import load

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # torch 2.1 warns of its own TypedStorage here
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
    """Whether the archive has only the members that the WebUI allows, and torch itself finds in them what was read here."""
    import torch

    from train_embedding.embeddings.formats import MAX_FILE_SIZE
    from train_embedding.embeddings.formats.containers import zip_members

    try:
        members = {member.name: zip_members.content(data, member, MAX_FILE_SIZE) for member in zip_members.members_of(data)}
        if not all(map(_ZIP_MEMBER.fullmatch, members)):
            return False
        reader: Any = torch._C.PyTorchFileReader(io.BytesIO(data))  # pyright: ignore[reportPrivateUsage, reportUnknownMemberType, reportArgumentType]
        records = {str(record) for record in reader.get_all_records()}
        inside = {name.partition("/")[2]: content for name, content in members.items()}
        return records == set(inside) and all(reader.get_record(name) == content for name, content in inside.items())
    except Exception:  # noqa: BLE001 - what is amiss in a zip comes as nearly anything, also in a member that our reader never needs
        return False
