"""What a file could make a program do that reads it by a bare `torch.load`, which before torch 2.6 runs what a pickle names."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

from train_embedding.embeddings.formats.containers import torch_file, zip_members
from train_embedding.embeddings.formats.containers.pickle_rules import NotData
from train_embedding.embeddings.formats.containers.pickled import MAX_PICKLE, asked_for
from train_embedding.embeddings.formats.containers.torch_tensors import HARMLESS
from train_embedding.embeddings.formats.content import MAX_FILE_SIZE, shown

AMBIGUOUS = "is an archive in which one program may find what another does not"
UNFOLLOWED = "holds more than could be looked through"
PROGRAM = "is a TorchScript archive, which is a program"

_PICKLES = 5
"Of torch's layout before 1.6."
_NAMED = 3
_ARCHIVED_PICKLES = 4


def harm_in(data: bytes, file_name: str) -> str:
    """What speaks against handing a file to such a program, the end of a sentence that begins with its name; empty for nothing.

    Such programs read `.pt` and `.bin` in that way (`modules/textual_inversion/textual_inversion.py` of Forge dfdcbab6). Where in
    doubt, the answer is that the file could not be looked through; a file that every reader stops at does no harm.
    """
    if Path(file_name).suffix.lower() not in torch_file.SUFFIXES:
        return ""
    if len(data) > MAX_FILE_SIZE:
        return UNFOLLOWED
    try:
        if data.startswith(torch_file.ZIP_MAGIC):
            return _in_zip(data)
        if _is_tar(data):  # what torch wrote before 0.1.10
            return UNFOLLOWED
        return _asked(asked_for(data, HARMLESS, _PICKLES))
    except NotData:
        return UNFOLLOWED


def _in_zip(data: bytes) -> str:
    if not zip_members.has_an_end(data):  # cut short
        return ""
    if not zip_members.has_one_meaning(data):
        return AMBIGUOUS
    if zip_members.has_too_many(data):
        return UNFOLLOWED
    asked: list[str] = []
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if any(name.lower().endswith("/constants.pkl") for name in archive.namelist()):
                return PROGRAM
            pickles = [member for member in archive.infolist() if member.filename.lower().endswith(".pkl")]  # as torch finds them
            if len(pickles) > _ARCHIVED_PICKLES or any(member.file_size > MAX_PICKLE for member in pickles):
                return UNFOLLOWED
            for member in pickles:
                asked += asked_for(zip_members.content(archive, member.filename, MAX_PICKLE), HARMLESS, 1)
    except NotData:
        raise
    except Exception:  # noqa: BLE001 - what is amiss in a zip comes as nearly anything, and need not stop torch, which checks no sums
        return UNFOLLOWED
    return _asked(asked)


def _asked(names: list[str]) -> str:
    """'asks for "posix.system"'"""
    different = list(dict.fromkeys(names))
    if not different:
        return ""
    listed = ", ".join(f'"{shown(name)}"' for name in different[:_NAMED])
    more = len(different) - _NAMED
    return f"asks for {listed}{f' and {more} more' if more > 0 else ''}"


def _is_tar(data: bytes) -> bool:
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:"):
            return True
    except tarfile.TarError:
        return False
    except Exception:  # noqa: BLE001 - a header that makes no sense in yet another way
        return True
