"""Reading what `torch.save` wrote, without ever running what a stranger put into it."""

from __future__ import annotations

import io
import pickle
import pickletools
import re
import threading
import zipfile
from collections.abc import Generator
from contextlib import contextmanager
from typing import cast

import torch

# Not `torch.load`: the WebUI replaces that name by a function that takes paths only and returns None on failure.
from torch.serialization import load as torch_load

from train_embedding.errors import UnreadableFile

ZIP_MAGIC = b"PK\x03\x04"
LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"The first of the five pickles that the layout before torch 1.6 begins with."
MAX_CONTENT = 64 * 2**20
"Bytes that a zip file may unpack to."

_MEMBER = re.compile(r"[^/]+/(data\.pkl|data/\d+|version|byteorder|\.format_version|\.storage_alignment|\.data/serialization_id)")
_PARAMETER_DICT = "torch.nn.modules.container.ParameterDict"
_ALLOWED = re.compile(
    r"collections\.OrderedDict|torch\._utils\._rebuild_(tensor_v2|parameter)|torch\.\w+Storage|torch\.storage\.\w+Storage"
    r"|torch\.(b?float|u?int)\d+|torch\.Size|(__builtin__|builtins)\.set|" + re.escape(_PARAMETER_DICT)
)
_safe_globals_lock = threading.Lock()
"torch keeps its list of safe globals for the whole process."


def is_torch_file(data: bytes) -> bool:
    return data.startswith((ZIP_MAGIC, LEGACY_MAGIC))


def load_torch_file(data: bytes, name: str) -> object:
    """What was saved, tensors on the CPU. Reads both of torch's layouts; runs nothing.

    The pickle is first searched for what it would call, so that a refusal can name it. `torch.load(weights_only=True)`
    then reads it. A zip is repacked with nothing but the members a saved tensor has: before torch 2.6, a TorchScript
    archive was executed whatever `weights_only` said (CVE-2025-32434). name: of the embedding, for messages.
    Raises UnreadableFile.
    """
    if not is_torch_file(data):
        raise UnreadableFile(f'The file of "{name}" was not saved by torch.')
    try:
        if data.startswith(ZIP_MAGIC):
            members = _zip_members(data, name)
            pickles = next(content for member, content in members.items() if member.endswith("/data.pkl"))
            needed = _globals_of(pickles, 1)
            data = _zip_of(members)
        else:
            needed = _globals_of(data, 5)
        _refuse_unknown(needed, name)
        with _allowing(needed, name):
            return cast(object, torch_load(io.BytesIO(data), map_location="cpu", weights_only=True))
    except UnreadableFile:
        raise
    except Exception as error:  # a broken pickle can raise nearly anything
        raise UnreadableFile(f'The file of "{name}" is damaged or incomplete: {_first_line(error)}') from error


def _zip_members(data: bytes, name: str) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        listing = archive.infolist()
        for member in listing:
            if not _MEMBER.fullmatch(member.filename):
                raise UnreadableFile(f'The file of "{name}" contains "{member.filename}", which no saved tensor has.')
        names = [member.filename for member in listing]
        if len(set(names)) < len(names) or sum(member.endswith("/data.pkl") for member in names) != 1:
            raise UnreadableFile(f'The file of "{name}" is not one saved object.')
        if sum(member.file_size for member in listing) > MAX_CONTENT:
            raise UnreadableFile(f'The file of "{name}" unpacks to more than {MAX_CONTENT // 2**20} MB.')
        return {member.filename: archive.read(member) for member in listing}


def _zip_of(members: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return packed.getvalue()


def _globals_of(data: bytes, pickles: int) -> set[str]:
    """Dotted names of everything that the first `pickles` pickles in `data` would import."""
    stream = io.BytesIO(data)
    names: set[str] = set()
    texts: list[str] = []
    for _ in range(pickles):
        for opcode, argument, _position in pickletools.genops(stream):
            if opcode.name in ("GLOBAL", "INST"):
                names.add(str(argument).replace(" ", "."))
            elif opcode.name == "STACK_GLOBAL":
                names.add(".".join(texts[-2:]))
            elif opcode.name.startswith("EXT"):
                names.add(f"extension code {argument}")
            elif isinstance(argument, str):
                texts.append(argument)
    return names


def _refuse_unknown(needed: set[str], name: str) -> None:
    unknown = sorted(text for text in needed if not _ALLOWED.fullmatch(text))
    if unknown:
        raise UnreadableFile(
            f'The file of "{name}" asks for {", ".join(unknown[:3])}, which no embedding needs; nothing in it was run.',
            "Delete it unless you trust where it came from.",
        )


@contextmanager
def _allowing(needed: set[str], name: str) -> Generator[None, None, None]:
    """Lets `weights_only` build a ParameterDict, as the original textual inversion code saved it, where torch can."""
    if _PARAMETER_DICT not in needed:
        yield
        return
    safe_globals = getattr(torch.serialization, "safe_globals", None)
    if safe_globals is None:
        raise UnreadableFile(
            f'The file of "{name}" holds a ParameterDict, which torch {torch.__version__} cannot read safely.',
            "torch 2.5 and newer can.",
        )
    with _safe_globals_lock, safe_globals([torch.nn.ParameterDict]):
        yield


def _first_line(error: Exception) -> str:
    if isinstance(error, pickle.UnpicklingError):
        return "its pickle does not hold what a saved tensor holds."
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
