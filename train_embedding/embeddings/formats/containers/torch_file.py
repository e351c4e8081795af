"""`.pt`, `.bin`, `.ckpt` and `.pth`: what `torch.save` wrote, in either of its layouts, read without torch's unpickler."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import cast

import torch

from train_embedding.embeddings.formats.containers import zip_members
from train_embedding.embeddings.formats.containers.pickle_rules import NotData, UnsafePickle
from train_embedding.embeddings.formats.containers.pickled import MAX_PICKLE, read_pickle
from train_embedding.embeddings.formats.containers.torch_tensors import Storage, kind_of, nested_values, plain_values, rules
from train_embedding.embeddings.formats.content import Content, first_line, shown, unreadable
from train_embedding.errors import UnreadableFile

SUFFIXES: tuple[str, ...] = (".pt", ".bin", ".ckpt", ".pth")
WRITTEN: tuple[str, ...] = (".pt", ".bin")
"Those that every host reads."
ZIP_MAGIC = b"PK\x03\x04"
LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"The first of the five pickles that the layout before torch 1.6 begins with."


def sniff(data: bytes) -> bool:
    """Whether torch saved this, in either of its layouts."""
    return data.startswith((ZIP_MAGIC, LEGACY_MAGIC))


def read(data: bytes, file: str, skip_disallowed: bool = False) -> Content:
    """The dictionary that was saved, with its tensors on the CPU. Raises UnreadableFile; nothing in the file is run.

    skip_disallowed: reads an unsafe file too, without what it imports.
    """
    try:
        saved, bytes_of = _read_saved(data, file, skip_disallowed)
        if not isinstance(saved, dict):
            raise unreadable(file, f"holds a {kind_of(saved)}, not the dictionary that an embedding is.")
        values = plain_values(cast("dict[object, object]", saved), bytes_of)
    except UnreadableFile:
        raise
    except UnsafePickle as error:
        needed = shown(str(error))
        hint = "Delete it unless you trust where it came from."
        raise unreadable(file, f"imports {needed}, which no embedding needs; nothing in it was run.", hint) from error
    except NotData as error:
        raise unreadable(file, f"is damaged or no embedding: {error}.") from error
    except Exception as error:  # what is amiss in a zip comes as nearly anything
        raise unreadable(file, f"is damaged or incomplete: {first_line(error)}") from error
    return Content(values, values)


def read_nested(data: bytes, file: str) -> object:
    """Read a saved value that is no embedding, nested however deep, with its tensors on the CPU; nothing in the file is run.

    Raises:
        UnreadableFile: When it is damaged, or more than plain data.
    """
    try:
        saved, bytes_of = _read_saved(data, file)
        return nested_values(saved, bytes_of)
    except UnreadableFile:
        raise
    except Exception as error:  # what is amiss in a zip comes as nearly anything
        raise unreadable(file, f"is damaged or incomplete: {first_line(error)}") from error


def write(content: Content, suffix: str) -> bytes:
    """The bytes of a file that WebUI 1.10.1 reads, whatever torch is installed here or there; `metadata` has no place in it.

    The layout is that of torch before 1.6: the WebUI's safe unpickler takes the zip of torch 2.6 and newer for malicious.
    """
    packed = io.BytesIO()
    torch.serialization.save(dict(content.values), packed, _use_new_zipfile_serialization=False)
    return packed.getvalue()


def _read_saved(data: bytes, file: str, skip_disallowed: bool = False) -> tuple[object, Callable[[Storage], bytes]]:
    """The saved object, with a function that gives the bytes of its storages."""
    return _from_zip(data, file, skip_disallowed) if data.startswith(ZIP_MAGIC) else _from_legacy(data, skip_disallowed)


def _from_legacy(data: bytes, skip_disallowed: bool) -> tuple[object, Callable[[Storage], bytes]]:
    """Four pickles (a magic number, a version, what kind of machine, the object), a fifth with the storages' keys, and these."""
    storages: dict[str, Storage] = {}
    allowed = rules(storages, skip_disallowed)
    position = len(LEGACY_MAGIC)
    _, position = read_pickle(data, allowed, position)
    machine, position = read_pickle(data, allowed, position)
    if isinstance(machine, dict) and cast("dict[object, object]", machine).get("little_endian") is False:
        raise NotData("it was saved on a big-endian machine")
    saved, position = read_pickle(data, allowed, position)
    keys, position = read_pickle(data, allowed, position)
    places: dict[str, tuple[int, int]] = {}
    for key in cast("list[str]", keys):
        storage = storages[key]
        count = int.from_bytes(data[position : position + 8], "little", signed=True)
        position += 8
        if count != storage.count or key in places:
            raise NotData("it is cut short, or holds other amounts of numbers than it says")
        places[key] = (position, position + storage.size)
        position += storage.size
    return saved, lambda storage: data[slice(*places[storage.key])]


def _from_zip(data: bytes, file: str, skip_disallowed: bool) -> tuple[object, Callable[[Storage], bytes]]:
    """A folder with the pickled object, its storages one by one, and what kind of machine it was."""
    members = zip_members.opened(data, file)
    pickled = next(name for name in members if name.endswith("/data.pkl"))
    folder = pickled.removesuffix("data.pkl")
    saved, _ = read_pickle(zip_members.content(data, members[pickled], MAX_PICKLE), rules({}, skip_disallowed))
    order = members.get(folder + "byteorder")
    if order is not None and zip_members.content(data, order, 16) != b"little":
        raise NotData("it was saved on a big-endian machine")
    return saved, lambda storage: zip_members.content(data, members[f"{folder}data/{storage.key}"], storage.size)
