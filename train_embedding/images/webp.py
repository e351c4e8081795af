"""Read the size of a WebP image from its header."""

from __future__ import annotations


def size_of(data: bytes) -> tuple[int, int]:
    """Read width and height from the first 30 bytes of a WebP file; (0, 0) if they are unknown.

    Source: RFC 9649, sections 2.5 to 2.7, for the three kinds of headers; RFC 6386, section 9.1, for lossy images.
    """
    kind, head = data[12:16], data[20:30]
    if len(head) < 10:
        return 0, 0
    if kind == b"VP8X":
        return int.from_bytes(head[4:7], "little") + 1, int.from_bytes(head[7:10], "little") + 1
    if kind == b"VP8L" and head[:1] == b"\x2f":
        size = int.from_bytes(head[1:5], "little")
        return (size & 0x3FFF) + 1, (size >> 14 & 0x3FFF) + 1
    if kind == b"VP8 " and head[3:6] == b"\x9d\x01\x2a":
        return int.from_bytes(head[6:8], "little") & 0x3FFF, int.from_bytes(head[8:10], "little") & 0x3FFF
    return 0, 0
