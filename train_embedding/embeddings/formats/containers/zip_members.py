"""The members of a zip that `torch.save` wrote, with none that no saved tensor has, and no more of them than they say."""

from __future__ import annotations

import io
import re
import struct
import zipfile

from train_embedding.embeddings.formats.content import MAX_FILE_SIZE, MAX_TENSORS, shown, unreadable

_MEMBER = re.compile(r"[^/]+/(data\.pkl|data/\d+|version|byteorder|\.format_version|\.storage_alignment|\.data/serialization_id)")
_DIRECTORY_ENTRY = b"PK\x01\x02"
_END, _END_64, _LOCATOR_64 = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_END_SIZE, _END_64_SIZE, _LOCATOR_64_SIZE = 22, 56, 20


def opened(data: bytes, file: str) -> zipfile.ZipFile:
    """The archive, one of its members `…/data.pkl`. Raises UnreadableFile, and what `zipfile` raises for a damaged file."""
    if has_too_many(data):
        raise unreadable(file, f"contains more than {MAX_TENSORS} members, far more than an embedding has.")
    archive = zipfile.ZipFile(io.BytesIO(data))
    members = archive.infolist()
    for member in members:
        if not _MEMBER.fullmatch(member.filename):
            raise unreadable(file, f'contains "{shown(member.filename)}", which no saved tensor has.')
        if member.flag_bits & 1:
            raise unreadable(file, "is encrypted.")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise unreadable(file, "is compressed in a way that torch does not use.")
    names = [member.filename for member in members]
    if len(set(names)) < len(names) or sum(name.endswith("/data.pkl") for name in names) != 1:
        raise unreadable(file, "is not one saved object.")
    if sum(member.file_size for member in members) > MAX_FILE_SIZE:
        raise unreadable(file, f"unpacks to more than {MAX_FILE_SIZE // 2**20} MB.")
    return archive


def content(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    """A member's bytes, at most `limit`. The size is asked for: read to its end, a member that lies unpacks to gigabytes."""
    member = archive.getinfo(name)
    with archive.open(member) as unpacked:
        return unpacked.read(min(member.file_size, limit))


def has_too_many(data: bytes) -> bool:
    """Whether there are more members than an embedding has. Each takes some hundred bytes once it is listed, so ask before."""
    return data.count(_DIRECTORY_ENTRY) > MAX_TENSORS + 10


def has_an_end(data: bytes) -> bool:
    """Whether any reader can take this for an archive: its end record may lie anywhere."""
    return data.find(_END, 0, len(data) - _END_SIZE + len(_END)) >= 0


def has_one_meaning(data: bytes) -> bool:
    """Whether every reader finds the same members: one directory, which ends where the file does and begins where it says.

    The records are those of PKWARE's APPNOTE 6.3.10, sections 4.3.14 to 4.3.16.
    """
    end = len(data) - _END_SIZE
    if end < 0 or data[end : end + 4] != _END:
        return False
    count, size, start, comment = struct.unpack("<8xHHIIH", data[end:])[1:]
    if comment:
        return False
    locator = end - _LOCATOR_64_SIZE
    if data[max(locator, 0) : max(locator, 0) + 4] == _LOCATOR_64:
        end = locator - _END_64_SIZE
        if end < 0 or data[end : end + 4] != _END_64:
            return False
        at = struct.unpack("<Q", data[locator + 8 : locator + 16])[0]
        long: tuple[int, ...] = struct.unpack("<QQQ", data[end + 32 : end + 56])
        limits = (2**16 - 1, 2**32 - 1, 2**32 - 1)  # stand in the short record for what is too large for it
        same = all(one in (two, limit) for one, two, limit in zip((count, size, start), long, limits, strict=True))
        if at != end or not same:
            return False
        _, size, start = long
    return start + size == end
