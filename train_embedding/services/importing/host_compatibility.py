"""Conversion of files that hosts cannot read, to the format that every host reads."""

from __future__ import annotations

import io
import json
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any, cast

from train_embedding.embeddings.names import check_name
from train_embedding.errors import UnreadableFile
from train_embedding.messages import NOTHING, Message, msg
from train_embedding.services.formats import UNLOADED, format_for

_ZIP_MEMBER = re.compile(r"[^/]+/(data/\d+|version|byteorder|\.data/serialization_id|data\.pkl)")
"The members that the safe unpickler of WebUI 1.10.1 accepts."
_UNEXPECTED = msg("the WebUI expects one tensor, or clip_l and clip_g, and nothing else")


@dataclass(frozen=True)
class HostFile:
    """A file that hosts can read, ready for the embeddings folder."""

    name: str
    suffix: str
    data: bytes
    note: Message = NOTHING
    "What was changed and why; empty if the bytes are those of the source."


def normalise_for_hosts(file_name: str, data: bytes, suffixes: Sequence[str], name: str = "") -> HostFile:
    """Keep the bytes of a file if hosts can read them, otherwise convert it to a format that the host reads.

    Args:
        file_name: The original name of the file.
        data: Its bytes.
        suffixes: Suffixes of the files that the host loads; a converted file has the first one.
        name: The name of the embedding; if empty, the stem of the file name.

    Raises:
        InvalidName: The name cannot be used.
        UnreadableFile: The file is not an embedding.
    """
    from train_embedding.embeddings.formats import MAX_FILE_SIZE, encode, read_bytes

    path = PurePath(file_name)
    name = name or (path.stem if path.name == file_name else file_name)
    check_name(name)
    if not data:
        raise UnreadableFile(msg('"{name}" is empty.', name=file_name))
    if len(data) > MAX_FILE_SIZE:
        raise UnreadableFile(
            msg('"{name}" is larger than {limit} MB, too large for an embedding.', name=file_name, limit=MAX_FILE_SIZE // 2**20)
        )
    embedding = read_bytes(data, file_name)
    inner_name = embedding.metadata.get("name", embedding.name)
    problem = incompatibility(data, path.suffix.lower(), "" if inner_name == name else inner_name)
    if not problem and path.suffix.lower() not in suffixes:
        problem = msg("this program does not load {suffix} files", suffix=path.suffix)
    if not problem:
        return HostFile(name, path.suffix, data)
    suffix = suffixes[0]
    note = msg(
        '"{file}" was converted to "{converted}" with the same vectors: {reason}.',
        file=file_name,
        converted=f"{name}{suffix}",
        reason=problem,
    )
    return HostFile(name, suffix, encode(replace(embedding, name=name), format_for(suffix), suffix), note)


def incompatibility(data: bytes, suffix: str, inner_name: str = "") -> Message:
    """Return why hosts cannot read a file that can be read here.

    The rules are those of WebUI 1.10.1 (modules/textual_inversion/textual_inversion.py, modules/safe.py).

    Args:
        data: The file's bytes.
        suffix: The file's suffix, in lower case.
        inner_name: The name of the embedding inside the file, if it differs from the file name.

    Returns:
        The end of a sentence, without a period; empty if hosts can read the file.
    """
    from train_embedding.embeddings.formats.unsafe import unsafe_reason

    if suffix in UNLOADED:
        return msg("the WebUI does not load {suffix} files", suffix=suffix)
    if suffix == ".safetensors":
        length = int.from_bytes(data[:8], "little")
        keys = set(json.loads(data[8 : 8 + length])) - {"__metadata__"}
        return NOTHING if _is_expected(keys) else _UNEXPECTED
    if suffix not in (".pt", ".bin"):  # an image; the WebUI uses the name inside
        return msg('the WebUI would use the trigger word "{name}"', name=inner_name) if inner_name else NOTHING
    if data.startswith(b"PK") and not _is_plain_zip(data):
        return msg("the WebUI's safe unpickler rejects its zip layout")
    if unsafe_reason(data, f"embedding{suffix}"):
        return msg("other programs may read something else from it")
    return _incompatibility_with_torch(data)


def _incompatibility_with_torch(data: bytes) -> Message:
    """Return how torch's own reader differs from ours: some hosts pass such files directly to torch."""
    import torch

    # Not `torch.load`: the WebUI replaces that name by a function that takes paths only and returns None on failure.
    from torch.serialization import load

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # torch 2.1 warns about its own TypedStorage here
            values: object = load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception:  # noqa: BLE001 - a pickle can raise nearly anything, and our own reader has already accepted this one
        return msg("torch does not read it as plain data")
    if type(values) is not dict:
        return msg("it does not contain a plain dictionary")
    named = cast("dict[str, object]", values)
    if "string_to_param" in named:
        parameters = named["string_to_param"]
        return NOTHING if isinstance(parameters, dict) and len(cast("dict[str, object]", parameters)) == 1 else _UNEXPECTED
    only_tensors = all(isinstance(value, torch.Tensor) for value in named.values())
    return NOTHING if only_tensors and _is_expected(set(named)) else _UNEXPECTED


def _is_expected(keys: set[str]) -> bool:
    return len(keys) == 1 or keys == {"clip_l", "clip_g"}


def _is_plain_zip(data: bytes) -> bool:
    """Whether the archive has only members that the WebUI accepts, and torch reads the same content from them."""
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
    except Exception:  # noqa: BLE001 - a damaged zip can raise nearly anything, also for a member that our reader does not need
        return False
