"""Layouts: the keys under which formats store vectors, one module each."""

from __future__ import annotations

from typing import Protocol

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.format_names import FormatName
from train_embedding.embeddings.formats.content import Content


class KeyLayout(Protocol):
    """The functions of each layout module."""

    NAME: FormatName

    def sniff(self, content: Content) -> bool:
        """Return whether a file has this layout."""
        ...

    def read(self, content: Content, file: str) -> Embedding:
        """Read the embedding; its name is the stem of `file`.

        Raises:
            UnreadableFile: The tensors are not the vectors of an embedding.
        """
        ...

    def write(self, embedding: Embedding) -> Content:
        """Arrange an embedding in this layout.

        Raises:
            InvalidInput: The embedding has several text encoders, and the layout supports only one.
        """
        ...
