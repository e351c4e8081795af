"""Files written by `torch.save`, in its zip layout or its layout before torch 1.6, read without torch's unpickler."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import cast

import torch

from train_embedding.embeddings.formats.containers import zip_members
from train_embedding.embeddings.formats.containers.pickle_rules import NotData, UnsafePickle
from train_embedding.embeddings.formats.containers.pickled import MAX_PICKLE, read_pickle
from train_embedding.embeddings.formats.containers.torch_tensors import Storage, nested_values, plain_values, rules, type_name
from train_embedding.embeddings.formats.content import Content, reason_of, shown, unreadable
from train_embedding.errors import UnreadableFile
from train_embedding.messages import msg

SUFFIXES: tuple[str, ...] = (".pt", ".bin", ".ckpt", ".pth")
WRITTEN: tuple[str, ...] = (".pt", ".bin")
"Suffixes that every host reads."
ZIP_MAGIC = b"PK\x03\x04"
LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"The first of the five pickles at the beginning of the layout before torch 1.6."


def sniff(data: bytes) -> bool:
    """Return whether torch saved this file, in either of its layouts."""
    return data.startswith((ZIP_MAGIC, LEGACY_MAGIC))


def read(data: bytes, file: str, skip_disallowed: bool = False) -> Content:
    """Read a saved dictionary, with its tensors on the CPU. Nothing in the file is executed.

    Args:
        data: The content of the file.
        file: Its name, for messages.
        skip_disallowed: Whether to read unsafe files too, without the objects that they import.

    Raises:
        UnreadableFile: The file is damaged, unsafe, or not a dictionary of plain data.
    """
    try:
        saved, bytes_of = _read_saved(data, file, skip_disallowed)
        if not isinstance(saved, dict):
            raise unreadable(file, msg("contains a {type} instead of a dictionary of tensors.", type=shown(type_name(saved))))
        values = plain_values(cast("dict[object, object]", saved), bytes_of)
    except UnreadableFile:
        raise
    except UnsafePickle as error:
        reason = msg('imports "{name}", which no embedding needs; nothing in the file was executed.', name=shown(error.name))
        raise unreadable(file, reason, msg("Delete it unless you trust its source.")) from error
    except NotData as error:
        raise unreadable(file, msg("is damaged or not an embedding: {reason}.", reason=error.reason)) from error
    except Exception as error:  # damaged zip files cause errors of many types
        raise unreadable(file, msg("is damaged or incomplete: {reason}.", reason=reason_of(error))) from error
    return Content(values, values)


def read_nested(data: bytes, file: str) -> object:
    """Read any saved value of nested plain data, with its tensors on the CPU. Nothing in the file is executed.

    Raises:
        UnreadableFile: The file is damaged, or contains more than plain data.
    """
    try:
        saved, bytes_of = _read_saved(data, file)
        return nested_values(saved, bytes_of)
    except UnreadableFile:
        raise
    except Exception as error:  # damaged zip files cause errors of many types
        raise unreadable(file, msg("is damaged or incomplete: {reason}.", reason=reason_of(error))) from error


def write(content: Content, suffix: str) -> bytes:
    """Return the bytes of a file that WebUI 1.10.1 reads, with any versions of torch; `content.metadata` is not written.

    The layout is the one before torch 1.6, since the WebUI's safe unpickler rejects the zip layout of torch 2.6 and newer.
    """
    packed = io.BytesIO()
    torch.serialization.save(dict(content.values), packed, _use_new_zipfile_serialization=False)
    return packed.getvalue()


def _read_saved(data: bytes, file: str, skip_disallowed: bool = False) -> tuple[object, Callable[[Storage], bytes]]:
    """Return the saved object, and a function that returns the bytes of a storage."""
    return _from_zip(data, file, skip_disallowed) if data.startswith(ZIP_MAGIC) else _from_legacy(data, skip_disallowed)


def _from_legacy(data: bytes, skip_disallowed: bool) -> tuple[object, Callable[[Storage], bytes]]:
    """Read the layout before torch 1.6: pickles of a magic number, version, machine, object and storage keys; then storages."""
    storages: dict[str, Storage] = {}
    allowed = rules(storages, skip_disallowed)
    position = len(LEGACY_MAGIC)
    _, position = read_pickle(data, allowed, position)
    machine, position = read_pickle(data, allowed, position)
    if isinstance(machine, dict) and cast("dict[object, object]", machine).get("little_endian") is False:
        raise NotData(msg("it was saved on a big-endian machine"))
    saved, position = read_pickle(data, allowed, position)
    keys, position = read_pickle(data, allowed, position)
    ranges: dict[str, tuple[int, int]] = {}
    for key in cast("list[str]", keys):
        storage = storages[key]
        count = int.from_bytes(data[position : position + 8], "little", signed=True)
        position += 8
        if count != storage.count or key in ranges:
            raise NotData(msg("it is cut short, or the size of a tensor is wrong"))
        ranges[key] = (position, position + storage.size)
        position += storage.size
    return saved, lambda storage: data[slice(*ranges[storage.key])]


def _from_zip(data: bytes, file: str, skip_disallowed: bool) -> tuple[object, Callable[[Storage], bytes]]:
    """Read the zip layout: a folder with the pickled object, a file per storage, and the byte order."""
    members = zip_members.open_members(data, file)
    pickled = next(name for name in members if name.endswith("/data.pkl"))
    folder = pickled.removesuffix("data.pkl")
    saved, _ = read_pickle(zip_members.content(data, members[pickled], MAX_PICKLE), rules({}, skip_disallowed))
    order = members.get(folder + "byteorder")
    if order is not None and zip_members.content(data, order, 16) != b"little":
        raise NotData(msg("it was saved on a big-endian machine"))
    return saved, lambda storage: zip_members.content(data, members[f"{folder}data/{storage.key}"], storage.size)
