"""A host whose checkpoint has a small vocabulary of its own, for what looks words up and draws nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.formats import write_embedding
from train_embedding.engine.prompts.tokenizer import token_ids
from train_embedding.testing import FakeHost

TOKENS = 49408


class Vocabulary:
    """Random vectors for CLIP's tokens, per text encoder; the same for the same width."""

    def __init__(self, widths: dict[str, int]) -> None:
        self.tables = {key: torch.randn(TOKENS, d, generator=torch.Generator().manual_seed(d)) for key, d in widths.items()}

    def vocabulary(self) -> dict[str, torch.Tensor]:
        return self.tables

    def token_embeddings(self, text: str, count: int | None = None) -> dict[str, torch.Tensor]:
        ids = torch.tensor(token_ids(text)[:count], dtype=torch.long)
        return {key: table[ids] for key, table in self.tables.items()}


def vocabulary_host(folder: Path, widths: dict[str, int]) -> FakeHost:
    return FakeHost(folder, widths, model=cast(Any, Vocabulary(widths)))


def put(host: FakeHost, name: str, vectors: dict[str, torch.Tensor], **facts: Any) -> Embedding:
    """Writes an embedding into the host's folder, and has the host read it."""
    embedding = Embedding(name, vectors, **facts)
    write_embedding(embedding, host.info().embeddings_folder / f"{name}.safetensors")
    host.reload_embeddings()
    return embedding
