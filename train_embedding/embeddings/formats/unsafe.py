"""Unsafe pickles: files with which a bare `torch.load` would run code. Before torch 2.6 it calls whatever a pickle imports.

A file counts as safe only where that is proved, in one of two ways: all of it is plain data to our own reader, in the one archive
layout in which every reader finds the same bytes; or every reader stops before it reaches anything else.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

from train_embedding.embeddings.formats.containers import torch_file, zip_members
from train_embedding.embeddings.formats.containers.pickle_rules import NotData
from train_embedding.embeddings.formats.containers.pickled import MAX_PICKLE, PickleScan, scan_pickle
from train_embedding.embeddings.formats.containers.torch_tensors import FROM_NUMPY, rules
from train_embedding.embeddings.formats.content import MAX_FILE_SIZE, shown

AMBIGUOUS = "is an archive in which one program may find what another does not"
UNVERIFIABLE = "holds more than could be checked"
PROGRAM = "is a TorchScript archive, which is a program"

_PICKLES = 5
"Of torch's layout before 1.6."
_NAMED = 3
_TAR_HEADER = 512


def unsafe_reason(data: bytes, file_name: str) -> str:
    """Say why a file is unsafe for programs that load it with a bare `torch.load`.

    Such programs read `.pt` and `.bin` in that way (`modules/textual_inversion/textual_inversion.py` of Forge dfdcbab6).

    Args:
        data: The whole file.
        file_name: Its name; by its suffix, programs choose how to read it.

    Returns:
        The end of a sentence that begins with the file's name; empty where the file is proved to be safe.
    """
    if Path(file_name).suffix.lower() not in torch_file.SUFFIXES:
        return ""
    if len(data) > MAX_FILE_SIZE:
        return UNVERIFIABLE
    try:
        if data.startswith(torch_file.ZIP_MAGIC):
            return _in_zip(data)
        if _may_be_tar(data):  # what torch wrote before 0.1.10
            return UNVERIFIABLE
        # In torch's old layout, what stands behind these pickles is numbers, and no reader takes it for anything else.
        return _disallowed(_scan(data, _PICKLES).disallowed)
    except NotData:
        return UNVERIFIABLE


def _in_zip(data: bytes) -> str:
    if not zip_members.has_an_end(data):  # cut short
        return ""
    try:
        members = zip_members.members_of(data)
    except zip_members.NotPlain:
        return AMBIGUOUS
    if any(member.name.lower().endswith("/constants.pkl") for member in members):
        return PROGRAM
    pickles = [member for member in members if member.name.lower().endswith(".pkl")]
    if any(not member.stored or member.size > MAX_PICKLE for member in pickles):
        return UNVERIFIABLE
    scans = [_scan(data[member.start : member.start + member.size], 1) for member in pickles]
    if any(each.disallowed for each in scans):
        return _disallowed(tuple(name for each in scans for name in each.disallowed))
    ordinary = len(pickles) == 1 and all(member.stored and zip_members.is_of_a_tensor(member) for member in members)
    # Nothing may stand behind the pickle.
    return "" if ordinary and scans[0].end in (None, pickles[0].size) else UNVERIFIABLE


def _scan(data: bytes, pickles: int) -> PickleScan:
    return scan_pickle(data, rules({}, skip_disallowed=True), pickles)


def _disallowed(names: tuple[str, ...]) -> str:
    """Such as 'imports "posix.system"'."""
    different = [name for name in dict.fromkeys(names) if name != FROM_NUMPY]
    if not different:
        return UNVERIFIABLE if names else ""
    listed = ", ".join(f'"{shown(name)}"' for name in different[:_NAMED])
    more = len(different) - _NAMED
    return f"imports {listed}{f' and {more} more' if more > 0 else ''}"


def _may_be_tar(data: bytes) -> bool:
    """Whether tarfile may open this: its first header is one, or nothing but zeros, which is an empty archive's."""
    header = data[:_TAR_HEADER]
    if len(header) < _TAR_HEADER:
        return False
    try:
        tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return not header.strip(b"\0")
    except Exception:  # noqa: BLE001 - a header that makes no sense in yet another way
        return True
    return True
