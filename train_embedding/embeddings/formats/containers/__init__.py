"""Containers: the kinds of files that embeddings are stored in, one module each."""

from __future__ import annotations

from typing import Protocol

from train_embedding.embeddings.formats.content import Content


class Container(Protocol):
    """The functions of each container module."""

    SUFFIXES: tuple[str, ...]

    def sniff(self, data: bytes) -> bool:
        """Return whether a file is of this kind, by its first bytes."""
        ...

    def read(self, data: bytes, file: str) -> Content:
        """Read a file, whose name is used in messages.

        Raises:
            UnreadableFile: The file is damaged, or contains no embedding.
        """
        ...

    def write(self, content: Content, suffix: str) -> bytes:
        """Return the bytes of a file with this suffix.

        Raises:
            InvalidInput: Pillow cannot write this kind of image.
        """
        ...
