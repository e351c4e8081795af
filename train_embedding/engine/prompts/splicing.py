"""Embeddings in prompts: tokenized chunks with slots for vectors, and the hook that splices the vectors in."""

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
"Id in place of a vector: any below the end-of-text id, so that the pooled output is found as usual."


@dataclass(frozen=True)
class VectorRows:
    """A piece of a prompt that is an embedding: `count` rows of the table of vectors, from row `first` on."""

    first: int
    count: int


@dataclass(frozen=True)
class PromptBatch:
    """Prompts ready for the text encoders, each of k chunks of 75 tokens with the start and the end of text."""

    ids: torch.Tensor
    "Token ids, long [B, k, 77]."
    slots: torch.Tensor
    "Row in the table of vectors, or -1 for an ordinary token; long [B, k, 77]."
    weights: torch.Tensor | None = None
    "Weight of each token, fp32 [B, k, 77]; None if all are 1."

    def to(self, device: torch.device) -> PromptBatch:
        """Copy the batch to a device."""
        weights = None if self.weights is None else to_device(self.weights, device)
        return PromptBatch(to_device(self.ids, device), to_device(self.slots, device), weights)

    def select(self, rows: slice) -> PromptBatch:
        """Return some of the prompts."""
        return PromptBatch(self.ids[rows], self.slots[rows], None if self.weights is None else self.weights[rows])


def tokenize_pieces(pieces: Sequence[str | VectorRows]) -> list[list[tuple[int, int]]]:
    """Tokenize one prompt, whose brackets are plain text, into chunks of at most 75 pairs of token id and slot.

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
    """Join tokenized prompts in one batch; shorter ones are padded with empty chunks, as in the WebUI."""
    longest = max(len(chunks) for chunks in prompts)
    padded = [chunks + [[]] * (longest - len(chunks)) for chunks in prompts]
    rows = [[_with_ends(chunk) for chunk in chunks] for chunks in padded]
    table = torch.tensor(rows, dtype=torch.long)  # [B, k, 77, 2]
    return PromptBatch(table[..., 0].contiguous(), table[..., 1].contiguous())


@contextmanager
def splice_vectors(token_embedding: nn.Embedding, slots: torch.Tensor, table: torch.Tensor) -> Generator[None, None, None]:
    """Put `table[slots]` into the token embedding's output wherever a slot is taken, as long as the context lasts.

    Neither the vocabulary nor the tokenizer changes.

    Args:
        token_embedding: The text encoder's input layer.
        slots: Rows of the table or -1, long [N, 77].
        table: Vectors [n, d], which alone receive gradients.
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
