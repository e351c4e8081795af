"""Detection of unsafe pickles: files that execute code when a program loads them with a bare `torch.load`.

Before torch 2.6, `torch.load` calls whatever a pickle imports. A file counts as safe only if that is proved in one of two ways:

* our own reader finds nothing but plain data in it, in the one archive layout in which every reader finds the same bytes; or
* every reader fails before it reaches anything else.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

from train_embedding.embeddings.formats.containers import torch_file, zip_members
from train_embedding.embeddings.formats.containers.pickle_rules import NotData
from train_embedding.embeddings.formats.containers.pickled import MAX_PICKLE, PickleScan, scan_pickle
from train_embedding.embeddings.formats.containers.torch_tensors import FROM_NUMPY, rules
from train_embedding.embeddings.formats.content import MAX_FILE_SIZE, shown
from train_embedding.messages import NOTHING, Message, joined, msg, plural

AMBIGUOUS = msg("is a zip archive that different programs read differently")
UNVERIFIABLE = msg("contains data that could not be verified as safe")
PROGRAM = msg("is a TorchScript archive, which is a program")

_PICKLES = 5
"Of torch's layout before 1.6."
_MAX_LISTED = 3
"Names of imports in a message."
_TAR_HEADER = 512


def unsafe_reason(data: bytes, file_name: str) -> Message:
    """Return why a file is unsafe for programs that load it with a bare `torch.load`.

    Such programs read `.pt` and `.bin` files this way (`modules/textual_inversion/textual_inversion.py` of Forge dfdcbab6).

    Args:
        data: The whole file.
        file_name: Its name, by whose suffix programs choose how to read it.

    Returns:
        The rest of a sentence that begins with the name of the file, without a period; nothing if the file is proved safe.
    """
    if Path(file_name).suffix.lower() not in torch_file.SUFFIXES:
        return NOTHING
    if len(data) > MAX_FILE_SIZE:
        return UNVERIFIABLE
    try:
        if data.startswith(torch_file.ZIP_MAGIC):
            return _reason_in_zip(data)
        if _may_be_tar(data):  # torch's format before 0.1.10
            return UNVERIFIABLE
        # In torch's old layout, every reader reads the rest of the file as numbers.
        return _reason_for_imports(_scan(data, _PICKLES).disallowed)
    except NotData:
        return UNVERIFIABLE


def _reason_in_zip(data: bytes) -> Message:
    if not zip_members.has_an_end(data):  # cut short
        return NOTHING
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
        return _reason_for_imports(tuple(name for each in scans for name in each.disallowed))
    ordinary = len(pickles) == 1 and all(member.stored and zip_members.is_of_a_tensor(member) for member in members)
    # There must be no data after the pickle.
    return NOTHING if ordinary and scans[0].end in (None, pickles[0].size) else UNVERIFIABLE


def _scan(data: bytes, pickles: int) -> PickleScan:
    return scan_pickle(data, rules({}, skip_disallowed=True), pickles)


def _reason_for_imports(names: tuple[str, ...]) -> Message:
    """Return a reason such as 'imports "posix.system"'."""
    different = [name for name in dict.fromkeys(names) if name != FROM_NUMPY]
    if not different:
        return UNVERIFIABLE if names else NOTHING
    listed = joined(msg('"{name}"', name=shown(name)) for name in different[:_MAX_LISTED])
    more = len(different) - _MAX_LISTED
    if more > 0:
        return plural("imports {names} and {count} more", "imports {names} and {count} more", more, names=listed)
    return msg("imports {names}", names=listed)


def _may_be_tar(data: bytes) -> bool:
    """Return whether `tarfile` may open the data: it begins with a tar header, or with the zeros of an empty archive."""
    header = data[:_TAR_HEADER]
    if len(header) < _TAR_HEADER:
        return False
    try:
        tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return not header.strip(b"\0")
    except Exception:  # noqa: BLE001 - invalid in another way
        return True
    return True
