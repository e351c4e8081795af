"""Embeddings in prompts: tokenized chunks with slots for vectors, and a hook that inserts the vectors."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from train_embedding.embeddings.text_encoders import CHUNK
from train_embedding.engine.devices import to_device
from train_embedding.engine.prompts.tokenizer import END_OF_TEXT, START_OF_TEXT, token_ids

EMPTY_SLOT = -1
"Slot of an ordinary token."
PLACEHOLDER_ID = 0
"Token id in place of a vector. It is smaller than the end-of-text id, whose position sets the pooled output."


@dataclass(frozen=True)
class VectorRows:
    """An embedding in a prompt: `count` rows of the table of vectors, starting at row `first`."""

    first: int
    count: int


@dataclass(frozen=True)
class PromptBatch:
    """Prompts as input of the text encoders, each in k chunks of 75 tokens plus the start and the end of text.

    Attributes:
        ids: Token ids, long [B, k, 77].
        slots: Rows in the table of vectors, or -1 for ordinary tokens, long [B, k, 77].
        weights: Weight of each token, fp32 [B, k, 77]; None if all are 1.
    """

    ids: torch.Tensor
    slots: torch.Tensor
    weights: torch.Tensor | None = None

    def to(self, device: torch.device) -> PromptBatch:
        """Copy the batch to a device."""
        weights = None if self.weights is None else to_device(self.weights, device)
        return PromptBatch(to_device(self.ids, device), to_device(self.slots, device), weights)

    def select(self, rows: slice) -> PromptBatch:
        """Return some of the prompts."""
        return PromptBatch(self.ids[rows], self.slots[rows], None if self.weights is None else self.weights[rows])


def tokenize_pieces(pieces: Sequence[str | VectorRows]) -> list[list[tuple[int, int]]]:
    """Tokenize a prompt into chunks of at most 75 pairs of token id and slot. Brackets are plain text.

    An embedding is never split over two chunks.
    """
    chunks: list[list[tuple[int, int]]] = [[]]
    for piece in pieces:
        if isinstance(piece, str):
            for token in token_ids(piece):
                if len(chunks[-1]) == CHUNK:
                    chunks.append([])
                chunks[-1].append((token, EMPTY_SLOT))
        else:
            if len(chunks[-1]) + piece.count > CHUNK:
                chunks.append([])
            chunks[-1] += [(PLACEHOLDER_ID, piece.first + index) for index in range(piece.count)]
    return chunks


def batch_prompts(prompts: Sequence[list[list[tuple[int, int]]]]) -> PromptBatch:
    """Combine tokenized prompts into a batch. Shorter prompts are padded with empty chunks, as in the WebUI."""
    longest = max(len(chunks) for chunks in prompts)
    padded = [chunks + [[]] * (longest - len(chunks)) for chunks in prompts]
    rows = [[_with_ends(chunk) for chunk in chunks] for chunks in padded]
    table = torch.tensor(rows, dtype=torch.long)  # [B, k, 77, 2]
    return PromptBatch(table[..., 0].contiguous(), table[..., 1].contiguous())


@contextmanager
def splice_vectors(token_embedding: nn.Embedding, slots: torch.Tensor, table: torch.Tensor) -> Generator[None, None, None]:
    """Replace the output of the token embedding by `table[slots]` at all slots, within the context.

    The vocabulary and the tokenizer do not change. Only the table receives gradients.

    Args:
        token_embedding: Input layer of the text encoder.
        slots: Rows of the table, or -1 for ordinary tokens, long [N, 77].
        table: Vectors, [n, d].
    """

    def replace(_module: nn.Module, _inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        vectors = F.embedding(slots.clamp(min=0), table).to(output.dtype)  # [N, 77, d]
        return torch.where((slots >= 0).unsqueeze(-1), vectors, output)

    handle = token_embedding.register_forward_hook(replace)
    try:
        yield
    finally:
        handle.remove()


def _with_ends(chunk: list[tuple[int, int]]) -> list[tuple[int, int]]:
    filler = [(END_OF_TEXT, EMPTY_SLOT)] * (CHUNK + 1 - len(chunk))
    return [(START_OF_TEXT, EMPTY_SLOT), *chunk, *filler]
