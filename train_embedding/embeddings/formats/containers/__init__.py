"""What files are made of: a module for each kind, with `SUFFIXES`, `sniff`, `read` and `write`."""

from __future__ import annotations

from typing import Protocol

from train_embedding.embeddings.formats.content import Content


class Container(Protocol):
    """What each module of this folder offers."""

    SUFFIXES: tuple[str, ...]

    def sniff(self, data: bytes) -> bool: ...

    def read(self, data: bytes, file: str) -> Content: ...

    def write(self, content: Content, suffix: str) -> bytes: ...
