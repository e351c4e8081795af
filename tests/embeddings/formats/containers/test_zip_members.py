"""Zips are read in the one arrangement that torch writes; whatever else programs could read in different ways is refused."""

from __future__ import annotations

import io
import struct
import time
import zipfile

import pytest
import torch

from train_embedding.embeddings.formats.containers.pickle_rules import NotData
from train_embedding.embeddings.formats.containers.zip_members import Member, NotPlain, content, members_of


def saved_by_torch() -> bytes:
    packed = io.BytesIO()
    torch.save({"a": torch.ones(3), "b": torch.zeros(2, 5)}, packed)
    return packed.getvalue()


def zipped(compression: int, **members: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(f"archive/{name}", data)
    return packed.getvalue()


def contents(data: bytes) -> dict[str, bytes]:
    return {member.name: content(data, member, 2**20) for member in members_of(data)}


@pytest.mark.parametrize(
    "data",
    [saved_by_torch(), zipped(zipfile.ZIP_STORED, a=b"1", b=b""), zipped(zipfile.ZIP_DEFLATED, a=b"1" * 99, b=b"")],
    ids=range(3),
)
def test_the_members_are_those_of_zipfile(data: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert contents(data) == {name: archive.read(name) for name in archive.namelist()}


def test_every_changed_byte_of_a_header_is_seen() -> None:
    """But for times, versions, attributes and the padding, in which no reader looks for anything."""
    data = zipped(zipfile.ZIP_STORED, a=b"11", b=b"22")
    directory, end = data.index(b"PK\x01\x02"), data.index(b"PK\x05\x06")
    unread = {*range(4, 6), *range(10, 14)}
    unread |= {directory + at for at in (*range(4, 8), *range(12, 16), *range(36, 42))}
    places = [*range(39), *range(directory, directory + 55), *range(end, len(data))]
    for at in set(places) - unread:
        for change in (1, 0x80):
            changed = data[:at] + bytes([data[at] ^ change]) + data[at + 1 :]
            with pytest.raises((NotPlain, NotData, ValueError)):
                contents(changed)


def test_a_member_of_other_bytes_than_it_says() -> None:
    data = zipped(zipfile.ZIP_STORED, a=b"right").replace(b"right", b"wrong")
    with pytest.raises(NotData, match="checksum"):
        contents(data)


def test_no_more_is_unpacked_than_is_wanted() -> None:
    data = zipped(zipfile.ZIP_DEFLATED, a=bytes(10**6))
    (member,) = members_of(data)
    assert content(data, member, 10) == bytes(10)
    liar = Member(member.name, member.start, member.packed, 10, member.crc, member.method)
    with pytest.raises(NotData, match="checksum"):
        content(data, liar, 2**20)


def test_extra_fields_take_no_time() -> None:
    """zipfile looks at each of them again for each one before it."""
    extra = struct.pack("<HH", 9, 0) * 16_000
    data = zipped(zipfile.ZIP_STORED, a=b"1")
    at, end = data.index(b"PK\x01\x02"), data.index(b"PK\x05\x06")
    entry = bytearray(data[at:end])
    struct.pack_into("<H", entry, 30, len(extra))
    tail = bytearray(data[end:])
    struct.pack_into("<I", tail, 12, end - at + len(extra))
    began = time.process_time()
    with pytest.raises(NotPlain, match="read differently"):
        members_of(data[:at] + bytes(entry) + extra + bytes(tail))
    assert time.process_time() - began < 1


def test_a_member_that_is_said_to_be_a_folder() -> None:
    """torch reads none of its bytes then, and takes what lies in memory for them."""
    data = bytearray(saved_by_torch())
    data[data.index(b"PK\x01\x02") + 38] |= 0x10
    with pytest.raises(NotPlain, match="folder"):
        members_of(bytes(data))
