"""The members of a zip as every reader finds them, in the one arrangement that torch writes.

zipfile finds a member by the last entry of its name; torch's reader (miniz) by any of them, in upper or lower case, and without
the first folder of its name; other readers walk the local headers. So that all of them find the same bytes, an archive is read
only where it leaves nothing to choose: the members lie one behind the other from the first byte on, the directory lists them in
that order and agrees with each of their headers, and the file ends with it. The records are those of PKWARE's APPNOTE 6.3.10,
sections 4.3.7 to 4.3.16.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass

from train_embedding.embeddings.formats.content import MAX_FILE_SIZE, MAX_TENSORS, shown, unreadable

_MEMBER = re.compile(
    r"[^/]+/(data\.pkl|data/[0-9]+|version|byteorder|\.format_version|\.storage_alignment|\.data/serialization_id)"
)
_LOCAL, _ENTRY, _DESCRIPTOR = b"PK\x03\x04", b"PK\x01\x02", b"PK\x07\x08"
_END, _END_64, _LOCATOR_64 = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_LOCAL_SIZE, _ENTRY_SIZE, _DESCRIPTOR_SIZE = 30, 46, 16
_END_SIZE, _END_64_SIZE, _LOCATOR_64_SIZE = 22, 56, 20
_HAS_DESCRIPTOR, _UTF_8, _ENCRYPTED = 0x8, 0x800, 0x1
_FOLDER = 0x10
"Among a member's attributes."
_STORED, _DEFLATED = 0, 8
_MAX_NAME = 1024
"Bytes; torch names the folder after the file."
_MAX_MEMBERS = MAX_TENSORS + 10


class NotPlain(Exception):
    """An archive that programs may read in different ways; the message says why, as the end of a sentence."""


@dataclass(frozen=True)
class Member:
    """Where the bytes of a member lie."""

    name: str
    start: int
    packed: int
    "Bytes in the file."
    size: int
    "Bytes when unpacked."
    crc: int
    method: int

    @property
    def stored(self) -> bool:
        return self.method == _STORED


def opened(data: bytes, file: str) -> dict[str, Member]:
    """The members of a file that torch saved, by name, one of them `…/data.pkl`. Raises UnreadableFile."""
    try:
        members = members_of(data)
    except NotPlain as error:
        raise unreadable(file, f"{error}.") from error
    for member in members:
        if not is_of_a_tensor(member):
            raise unreadable(file, f'contains "{shown(member.name)}", which no saved tensor has.')
        if member.method not in (_STORED, _DEFLATED):
            raise unreadable(file, "is compressed in a way that torch does not use.")
    if sum(member.name.endswith("/data.pkl") for member in members) != 1:
        raise unreadable(file, "is not one saved object.")
    if sum(member.size for member in members) > MAX_FILE_SIZE:
        raise unreadable(file, f"unpacks to more than {MAX_FILE_SIZE // 2**20} MB.")
    return {member.name: member for member in members}


def members_of(data: bytes) -> list[Member]:
    """The members of an archive in their order, whatever they are called. Raises NotPlain."""
    count, at, end = _directory(data)
    if count > _MAX_MEMBERS:
        raise NotPlain(f"contains more than {MAX_TENSORS} members, far more than an embedding has")
    first = at
    members: list[Member] = []
    place = 0
    for _ in range(count):
        member, place, at = _member(data, at, end, place)
        members.append(member)
    if at != end or place != first:
        raise NotPlain("is an archive with something between its members or behind them")
    _check_names([member.name for member in members])
    return members


def is_of_a_tensor(member: Member) -> bool:
    """Whether it is called as torch calls the members of what it saves."""
    return _MEMBER.fullmatch(member.name) is not None


def content(data: bytes, member: Member, limit: int) -> bytes:
    """A member's bytes, at most `limit`. Raises ValueError for other bytes than it says."""
    packed = data[member.start : member.start + member.packed]
    most = min(member.size, limit) + 1
    unpacked = packed if member.stored else zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, most)
    if member.size > limit:
        return unpacked[:limit]
    if len(unpacked) != member.size or zlib.crc32(unpacked) != member.crc:
        raise ValueError(f'the checksum of "{shown(member.name)}" does not match')
    return unpacked


def has_an_end(data: bytes) -> bool:
    """Whether any reader can take this for an archive: its end record may lie anywhere."""
    return data.find(_END, 0, len(data) - _END_SIZE + len(_END)) >= 0


def _directory(data: bytes) -> tuple[int, int, int]:
    """How many entries the directory has, where it begins, and where it ends."""
    end = len(data) - _END_SIZE
    if end < 0 or data[end : end + 4] != _END:
        raise NotPlain("is an archive that is cut short, or has something behind its end")
    disk, of_disk, on_disk, count, size, start, comment = struct.unpack("<4xHHHHIIH", data[end:])
    if comment or disk or of_disk or on_disk != count:
        raise NotPlain("is an archive in several parts, or with a comment")
    locator = end - _LOCATOR_64_SIZE
    if locator >= 0 and data[locator : locator + 4] == _LOCATOR_64:
        end = _checked_64(data, locator, (count, size, start))
        count, size, start = struct.unpack("<QQQ", data[end + 32 : end + 56])
    if start + size != end:
        raise NotPlain("is an archive whose directory is not where it says")
    return count, start, end


def _checked_64(data: bytes, locator: int, short: tuple[int, int, int]) -> int:
    """Where the long end record lies, which says the same as the short one."""
    end = locator - _END_64_SIZE
    if end < 0 or data[end : end + 4] != _END_64:
        raise NotPlain("is an archive with two ends")
    disk, at, disks = struct.unpack("<IQI", data[locator + 4 : locator + _LOCATOR_64_SIZE])
    size, of_entries, this, on_disk, *long = struct.unpack("<4xQ4xIIQQQQ", data[end:locator])
    limits = (2**16 - 1, 2**32 - 1, 2**32 - 1)  # stand in the short record for what is too large for it
    same = all(one in (two, limit) for one, two, limit in zip(short, long, limits, strict=True))
    if at != end or disk or disks > 1 or size != _END_64_SIZE - 12 or of_entries or this or on_disk != long[0] or not same:
        raise NotPlain("is an archive with two ends")
    return end


def _member(data: bytes, at: int, end: int, place: int) -> tuple[Member, int, int]:
    """The member whose entry begins at `at` and whose header at `place`, and where the next ones begin.

    end: of the directory.
    """
    if end - at < _ENTRY_SIZE or data[at : at + 4] != _ENTRY:
        raise NotPlain("is an archive whose directory is cut short")
    entry = struct.unpack("<8xHH4xIIIHHHH2xII", data[at : at + _ENTRY_SIZE])
    flags, method, crc, packed, size, name_size, extra, comment, disk, attributes, offset = entry
    if flags & _ENCRYPTED:
        raise NotPlain("is encrypted")
    if attributes & _FOLDER:  # of which miniz reads nothing, and torch takes whatever lies in memory for its bytes
        raise NotPlain("is an archive with a folder in a file's place")
    if extra or comment or disk or offset != place or flags & ~(_HAS_DESCRIPTOR | _UTF_8) or name_size > _MAX_NAME:
        raise NotPlain("is an archive with entries that programs may read in different ways")
    after = at + _ENTRY_SIZE + name_size
    name = data[at + _ENTRY_SIZE : after]
    sizes = (crc, packed, size)
    start = _data_of(data, place, (flags, method, sizes, name))
    place = start + packed
    if flags & _HAS_DESCRIPTOR:
        if data[place : place + _DESCRIPTOR_SIZE] != _DESCRIPTOR + struct.pack("<III", *sizes):
            raise NotPlain("is an archive whose directory and members disagree")
        place += _DESCRIPTOR_SIZE
    if method == _STORED and packed != size:
        raise NotPlain("is an archive whose directory and members disagree")
    return Member(_text(name, flags), start, packed, size, crc, method), place, after


def _data_of(data: bytes, place: int, entry: tuple[int, int, tuple[int, int, int], bytes]) -> int:
    """Where the bytes of the member begin whose header is at `place` and says what its entry in the directory does."""
    flags, method, sizes, name = entry
    if data[place : place + 4] != _LOCAL or len(data) - place < _LOCAL_SIZE:
        raise NotPlain("is an archive with something between its members")
    header = struct.unpack("<6xHH4xIIIHH", data[place : place + _LOCAL_SIZE])
    start = place + _LOCAL_SIZE + header[-2]
    told = sizes if not flags & _HAS_DESCRIPTOR else (0, 0, 0)
    if header[:2] != (flags, method) or header[2:5] not in (sizes, told) or data[place + _LOCAL_SIZE : start] != name:
        raise NotPlain("is an archive whose directory and members disagree")
    return start + header[-1]  # behind the padding that torch puts there, which nobody reads


def _text(name: bytes, flags: int) -> str:
    try:
        text = name.decode("utf-8" if flags & _UTF_8 else "ascii")
    except UnicodeDecodeError as error:
        raise NotPlain("is an archive with a name that programs may read in different ways") from error
    if "\0" in text or "\\" in text:
        raise NotPlain("is an archive with a name that programs may read in different ways")
    return text


def _check_names(names: list[str]) -> None:
    """torch drops the first folder, which is that of the first member, and takes capitals for small letters."""
    folded = {name.casefold() for name in names}
    if len(folded) < len(names):
        raise NotPlain("is an archive with several members of one name")
    if len({name.partition("/")[0] for name in names}) > 1:
        raise NotPlain("is an archive of several folders")
