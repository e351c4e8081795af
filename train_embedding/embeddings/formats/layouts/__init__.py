"""Which keys the vectors stand under: a module for each, with `NAME`, `sniff`, `read` and `write`."""

from __future__ import annotations

from typing import Protocol

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.format_names import FormatName
from train_embedding.embeddings.formats.content import Content


class KeyLayout(Protocol):
    """What each module of this folder offers."""

    NAME: FormatName

    def sniff(self, content: Content) -> bool: ...

    def read(self, content: Content, file: str) -> Embedding: ...

    def write(self, embedding: Embedding) -> Content: ...
