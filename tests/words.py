"""Hosts whose checkpoint knows words, or has a small vocabulary, for what looks words up and draws nothing."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, cast

import torch

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.formats import write_embedding
from train_embedding.engine.prompts.tokenizer import token_ids
from train_embedding.testing import FakeHost

TOKENS = 49408


class WordModel:
    """Token embeddings with one token per word: the vector of a word is its length, then its place in the text.

    cuts: whether it cuts the text to the number of vectors, which the WebUI does for CLIP and not for OpenCLIP.
    """

    def __init__(self, widths: dict[str, int], cuts: bool = True) -> None:
        self.widths = widths
        self.cuts = cuts

    def token_embeddings(self, text: str, count: int | None = None) -> dict[str, torch.Tensor]:
        words = text.split()[: count if self.cuts else None]
        rows = [[float(len(word)), float(place)] for place, word in enumerate(words)]
        return {key: torch.tensor(rows).reshape(-1, 2).repeat(1, width // 2).half() for key, width in self.widths.items()}


def word_model(cuts: bool = True, **widths: int) -> Any:
    """Of an SD1 checkpoint, unless `widths` of text encoders are given."""
    return WordModel(widths or {"clip_l": 768}, cuts)


class Vocabulary:
    """Random vectors for CLIP's tokens, per text encoder; the same for the same width."""

    def __init__(self, widths: dict[str, int]) -> None:
        self.tables = {key: _table(width) for key, width in widths.items()}

    def vocabulary(self) -> dict[str, torch.Tensor]:
        return self.tables

    def token_embeddings(self, text: str, count: int | None = None) -> dict[str, torch.Tensor]:
        ids = torch.tensor(token_ids(text)[:count], dtype=torch.long)
        return {key: table[ids] for key, table in self.tables.items()}


@cache
def _table(width: int) -> torch.Tensor:
    return torch.randn(TOKENS, width, generator=torch.Generator().manual_seed(width))


def vocabulary_host(folder: Path, widths: dict[str, int]) -> FakeHost:
    return FakeHost(folder, widths, model=cast(Any, Vocabulary(widths)))


def put(host: FakeHost, name: str, vectors: dict[str, torch.Tensor], **facts: Any) -> Embedding:
    """Writes an embedding into the host's folder, and has the host read it."""
    embedding = Embedding(name, vectors, **facts)
    write_embedding(embedding, host.info().embeddings_folder / f"{name}.safetensors")
    host.reload_embeddings()
    return embedding
