"""Read the members of zip archives in the one arrangement that torch writes and that every reader reads alike.

zipfile finds a member by the last entry with its name; torch's reader (miniz) by any entry, case-insensitively and without the
first folder of the name; other readers scan the local headers. So that all of them find the same bytes, an archive is accepted
only if it is unambiguous: members follow each other from the first byte on, the directory lists them in that order and agrees
with every local header, and the file ends with the directory. The records are those of PKWARE's APPNOTE 6.3.10, sections 4.3.7 to
4.3.16.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass

from train_embedding.embeddings.formats.containers.pickle_rules import NotData
from train_embedding.embeddings.formats.content import MAX_FILE_SIZE, MAX_TENSORS, shown, unreadable
from train_embedding.messages import Message, msg

_MEMBER = re.compile(
    r"[^/]+/(data\.pkl|data/[0-9]+|version|byteorder|\.format_version|\.storage_alignment|\.data/serialization_id)"
)
_LOCAL, _ENTRY, _DESCRIPTOR = b"PK\x03\x04", b"PK\x01\x02", b"PK\x07\x08"
_END, _END_64, _LOCATOR_64 = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_LOCAL_SIZE, _ENTRY_SIZE, _DESCRIPTOR_SIZE = 30, 46, 16
_END_SIZE, _END_64_SIZE, _LOCATOR_64_SIZE = 22, 56, 20
_HAS_DESCRIPTOR, _UTF_8, _ENCRYPTED = 0x8, 0x800, 0x1
_FOLDER = 0x10
"The MS-DOS attribute of folders."
_STORED, _DEFLATED = 0, 8
_MAX_NAME = 1024
"Bytes. torch names the folder after the file."
_MAX_MEMBERS = MAX_TENSORS + 10


class NotPlain(Exception):
    """The archive is damaged, or ambiguous: different programs may read different data.

    Attributes:
        reason: Why: the rest of a sentence that begins with the name of the file, without a period.
    """

    def __init__(self, reason: Message) -> None:
        super().__init__(reason)
        self.reason = reason


_AMBIGUOUS_NAME = msg("is a zip archive with an ambiguous file name")
_AMBIGUOUS_ENTRY = msg("is a zip archive with entries that different programs read differently")
_EXTRA_DATA = msg("is a zip archive with extra data between or after its members")
_MISMATCH = msg("is a zip archive whose directory does not match its members")
_TWO_ENDS = msg("is a zip archive with contradictory end records")


@dataclass(frozen=True)
class Member:
    """A member of an archive."""

    name: str
    start: int
    "Position of its bytes in the file."
    packed: int
    "Compressed size in bytes."
    size: int
    "Uncompressed size in bytes."
    crc: int
    method: int

    @property
    def stored(self) -> bool:
        """Whether it is not compressed."""
        return self.method == _STORED


def open_members(data: bytes, file: str) -> dict[str, Member]:
    """Return the members of a file that torch saved, by name; one of them is `…/data.pkl`.

    Raises:
        UnreadableFile: The archive is damaged or ambiguous, or was not saved by torch.
    """
    try:
        members = members_of(data)
    except NotPlain as error:
        raise unreadable(file, msg("{problem}.", problem=error.reason)) from error
    for member in members:
        if not is_of_a_tensor(member):
            raise unreadable(file, msg('contains "{name}", which torch does not save with tensors.', name=shown(member.name)))
        if member.method not in (_STORED, _DEFLATED):
            raise unreadable(file, msg("uses a compression method that torch does not use."))
    if sum(member.name.endswith("/data.pkl") for member in members) != 1:
        raise unreadable(file, msg("does not contain exactly one saved object."))
    if sum(member.size for member in members) > MAX_FILE_SIZE:
        raise unreadable(file, msg("unpacks to more than {limit} MB.", limit=MAX_FILE_SIZE // 2**20))
    return {member.name: member for member in members}


def members_of(data: bytes) -> list[Member]:
    """Return the members of any archive, in their order.

    Raises:
        NotPlain: The archive is damaged or ambiguous.
    """
    count, at, end = _directory(data)
    if count > _MAX_MEMBERS:
        raise NotPlain(msg("is a zip archive with more than {limit} members, too many for an embedding", limit=MAX_TENSORS))
    first = at
    members: list[Member] = []
    place = 0
    for _ in range(count):
        member, place, at = _member(data, at, end, place)
        members.append(member)
    if at != end or place != first:
        raise NotPlain(_EXTRA_DATA)
    _check_names([member.name for member in members])
    return members


def is_of_a_tensor(member: Member) -> bool:
    """Return whether a member has a name that torch gives to the members of saved tensors."""
    return _MEMBER.fullmatch(member.name) is not None


def content(data: bytes, member: Member, limit: int) -> bytes:
    """Read the uncompressed bytes of a member, at most `limit` of them.

    Raises:
        NotData: The size or the checksum does not match.
    """
    packed = data[member.start : member.start + member.packed]
    most = min(member.size, limit) + 1
    unpacked = packed if member.stored else zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, most)
    if member.size > limit:
        return unpacked[:limit]
    if len(unpacked) != member.size or zlib.crc32(unpacked) != member.crc:
        raise NotData(msg('the checksum of "{name}" does not match', name=shown(member.name)))
    return unpacked


def has_an_end(data: bytes) -> bool:
    """Return whether any reader may treat this as an archive: some accept an end record anywhere."""
    return data.find(_END, 0, len(data) - _END_SIZE + len(_END)) >= 0


def _directory(data: bytes) -> tuple[int, int, int]:
    """Return the number of entries of the directory, its start and its end."""
    end = len(data) - _END_SIZE
    if end < 0 or data[end : end + 4] != _END:
        raise NotPlain(msg("is a zip archive that is cut short, or has extra data after its end"))
    disk, of_disk, on_disk, count, size, start, comment = struct.unpack("<4xHHHHIIH", data[end:])
    if comment or disk or of_disk or on_disk != count:
        raise NotPlain(msg("is a zip archive in several parts, or with a comment"))
    locator = end - _LOCATOR_64_SIZE
    if locator >= 0 and data[locator : locator + 4] == _LOCATOR_64:
        end = _checked_64(data, locator, (count, size, start))
        count, size, start = struct.unpack("<QQQ", data[end + 32 : end + 56])
    if start + size != end:
        raise NotPlain(msg("is a zip archive whose directory is not where its end record says"))
    return count, start, end


def _checked_64(data: bytes, locator: int, short: tuple[int, int, int]) -> int:
    """Return the position of the ZIP64 end record, after checking that it agrees with the short one."""
    end = locator - _END_64_SIZE
    if end < 0 or data[end : end + 4] != _END_64:
        raise NotPlain(_TWO_ENDS)
    disk, at, disks = struct.unpack("<IQI", data[locator + 4 : locator + _LOCATOR_64_SIZE])
    size, of_entries, this, on_disk, *long = struct.unpack("<4xQ4xIIQQQQ", data[end:locator])
    limits = (2**16 - 1, 2**32 - 1, 2**32 - 1)  # the short record has these for larger values
    same = all(value in (full, limit) for value, full, limit in zip(short, long, limits, strict=True))
    if at != end or disk or disks > 1 or size != _END_64_SIZE - 12 or of_entries or this or on_disk != long[0] or not same:
        raise NotPlain(_TWO_ENDS)
    return end


def _member(data: bytes, at: int, end: int, place: int) -> tuple[Member, int, int]:
    """Read a member, checking that its directory entry agrees with its local header.

    Args:
        data: The archive.
        at: Position of the directory entry.
        end: End of the directory.
        place: Position of the local header.

    Returns:
        The member, and the positions of the next local header and the next directory entry.
    """
    if end - at < _ENTRY_SIZE or data[at : at + 4] != _ENTRY:
        raise NotPlain(msg("is a zip archive whose directory is cut short"))
    entry = struct.unpack("<8xHH4xIIIHHHH2xII", data[at : at + _ENTRY_SIZE])
    flags, method, crc, packed, size, name_size, extra, comment, disk, attributes, offset = entry
    if flags & _ENCRYPTED:
        raise NotPlain(msg("is an encrypted zip archive"))
    if attributes & _FOLDER:  # miniz reads nothing of it, so that torch uses uninitialized memory
        raise NotPlain(msg("is a zip archive with a folder in place of a file"))
    if extra or comment or disk or offset != place or flags & ~(_HAS_DESCRIPTOR | _UTF_8) or name_size > _MAX_NAME:
        raise NotPlain(_AMBIGUOUS_ENTRY)
    after = at + _ENTRY_SIZE + name_size
    name = data[at + _ENTRY_SIZE : after]
    sizes = (crc, packed, size)
    start = _data_of(data, place, (flags, method, sizes, name))
    place = start + packed
    if flags & _HAS_DESCRIPTOR:
        if data[place : place + _DESCRIPTOR_SIZE] != _DESCRIPTOR + struct.pack("<III", *sizes):
            raise NotPlain(_MISMATCH)
        place += _DESCRIPTOR_SIZE
    if method == _STORED and packed != size:
        raise NotPlain(_MISMATCH)
    return Member(_text(name, flags), start, packed, size, crc, method), place, after


def _data_of(data: bytes, place: int, entry: tuple[int, int, tuple[int, int, int], bytes]) -> int:
    """Return where the bytes of a member begin, after checking its local header at `place` against its directory entry."""
    flags, method, sizes, name = entry
    if data[place : place + 4] != _LOCAL or len(data) - place < _LOCAL_SIZE:
        raise NotPlain(_EXTRA_DATA)
    header = struct.unpack("<6xHH4xIIIHH", data[place : place + _LOCAL_SIZE])
    start = place + _LOCAL_SIZE + header[-2]
    expected = sizes if not flags & _HAS_DESCRIPTOR else (0, 0, 0)
    if header[:2] != (flags, method) or header[2:5] not in (sizes, expected) or data[place + _LOCAL_SIZE : start] != name:
        raise NotPlain(_MISMATCH)
    return start + header[-1]  # after torch's padding, which every reader skips


def _text(name: bytes, flags: int) -> str:
    try:
        text = name.decode("utf-8" if flags & _UTF_8 else "ascii")
    except UnicodeDecodeError as error:
        raise NotPlain(_AMBIGUOUS_NAME) from error
    if "\0" in text or "\\" in text:
        raise NotPlain(_AMBIGUOUS_NAME)
    return text


def _check_names(names: list[str]) -> None:
    """Check that names are unique and in one folder: torch ignores case, and drops the first folder of a name."""
    folded = {name.casefold() for name in names}
    if len(folded) < len(names):
        raise NotPlain(msg("is a zip archive with duplicate file names"))
    if len({name.partition("/")[0] for name in names}) > 1:
        raise NotPlain(msg("is a zip archive with more than one top-level folder"))
