"""Prompts as the text encoders take them: the WebUI's syntax read, with slots for vectors and a weight for each token."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch

from train_embedding.engine.prompts.chunking import EmbeddingFinder, EmbeddingMatch, EmbeddingNames, chunk_prompt
from train_embedding.engine.prompts.splicing import EMPTY_SLOT, PLACEHOLDER_ID, PromptBatch, VectorRows, batch_prompts
from train_embedding.engine.prompts.tokenizer import END_OF_TEXT, token_ids

_MARK = "\ufdd0"
"Stands for the embedding in a caption while brackets are read: a code point that no text contains (Unicode 23.7)."


@dataclass(frozen=True)
class TokenizedPrompt:
    """One prompt in chunks of at most 75. tokens: (token id, slot) each, as in a PromptBatch. weights: of the same places."""

    tokens: tuple[tuple[tuple[int, int], ...], ...]
    weights: tuple[tuple[float, ...], ...]


@lru_cache(maxsize=4096)
def tokenize_caption(caption: str, mark: str, vectors: VectorRows) -> TokenizedPrompt:
    """A caption as the WebUI's trainer reads it: weights, escapes, BREAK and chunks of 75.

    `[a:b:0.5]`, `[a|b]`, AND, `<lora:…>` and comments mean nothing there, and are text. mark: what stands for the embedding,
    such as "[name]"; it is found before any bracket is read. Raises InvalidInput for a weight that is not a number.
    """
    text = _MARK.join(part.replace(_MARK, " ") for part in caption.split(mark))
    return _reading(text, _Marks(vectors.count), {_MARK: vectors.first})


class PromptTokenizer:
    """Reads prompts as the WebUI draws them at one step. tables: names of embeddings, with their rows in the table of vectors."""

    def __init__(self, tables: Sequence[tuple[str, VectorRows]] = ()) -> None:
        self._names = EmbeddingNames((name, vectors.count) for name, vectors in tables)
        self._first_rows = {name: vectors.first for name, vectors in tables}

    def read(self, prompt: str) -> TokenizedPrompt:
        """Changes and AND must be resolved before. Raises InvalidInput for a weight that is not a number."""
        return _reading(prompt, self._names, self._first_rows)


def batch_tokenized(readings: Sequence[TokenizedPrompt]) -> PromptBatch:
    """Prompts as one batch; shorter ones are filled with empty chunks, as the WebUI does."""
    batch = batch_prompts([[list(chunk) for chunk in one.tokens] for one in readings])
    if all(weight == 1 for one in readings for chunk in one.weights for weight in chunk):
        return batch
    weights = torch.ones(batch.ids.shape)
    for row, one in enumerate(readings):
        for index, chunk in enumerate(one.weights):
            weights[row, index, 1 : len(chunk) + 1] = torch.tensor(chunk)
    return PromptBatch(batch.ids, batch.slots, weights)


class _Marks:
    """Finds one embedding wherever its mark stands."""

    def __init__(self, vectors: int) -> None:
        self._vectors = vectors

    def read(self, text: str) -> Iterator[int | EmbeddingMatch]:
        for index, part in enumerate(text.split(_MARK)):
            if index:
                yield EmbeddingMatch(_MARK, self._vectors, END_OF_TEXT)
            yield from token_ids(part) if part.strip() else ()


def _reading(prompt: str, finder: EmbeddingFinder, first_rows: dict[str, int]) -> TokenizedPrompt:
    """An embedding that moves to the next chunk keeps its vectors: losing them is a fault of the WebUI."""
    chunks = chunk_prompt(prompt, finder, keep_moved=True).chunks
    return TokenizedPrompt(
        tuple(
            tuple(
                (PLACEHOLDER_ID, first_rows[token.embedding] + (token.vector or 0))
                if token.id is None
                else (token.id, EMPTY_SLOT)
                for token in chunk.tokens
            )
            for chunk in chunks
        ),
        tuple(tuple(token.weight for token in chunk.tokens) for chunk in chunks),
    )
