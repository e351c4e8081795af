"""Conversion of prompts in the WebUI's syntax to inputs of the text encoders: token ids, slots for vectors and token weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch

from train_embedding.engine.prompts.chunking import EmbeddingFinder, EmbeddingMatch, EmbeddingNames, chunk_prompt
from train_embedding.engine.prompts.splicing import EMPTY_SLOT, PLACEHOLDER_ID, PromptBatch, VectorRows, batch_prompts
from train_embedding.engine.prompts.tokenizer import END_OF_TEXT, token_ids

_MARK = "\ufdd0"
"Placeholder for the embedding while brackets are parsed: a noncharacter, which text does not contain (Unicode 23.7)."


@dataclass(frozen=True)
class TokenizedPrompt:
    """A prompt in chunks of at most 75 tokens.

    Attributes:
        tokens: Token id and slot of each token in each chunk, as in PromptBatch.
        weights: Weight of each token in each chunk.
    """

    tokens: tuple[tuple[tuple[int, int], ...], ...]
    weights: tuple[tuple[float, ...], ...]


@lru_cache(maxsize=4096)
def tokenize_caption(caption: str, mark: str, vectors: VectorRows) -> TokenizedPrompt:
    """Tokenize a caption like the WebUI's trainer: with weights, escapes, BREAK and chunks of 75 tokens.

    `[a:b:0.5]`, `[a|b]`, AND, `<lora:…>` and comments are plain text there.

    Args:
        caption: The caption.
        mark: Placeholder for the embedding, such as "[name]"; replaced before brackets are parsed.
        vectors: Rows of the embedding in the table of vectors.

    Raises:
        InvalidInput: A weight is not a number.
    """
    text = _MARK.join(part.replace(_MARK, " ") for part in caption.split(mark))
    return _tokenize(text, _MarkFinder(vectors.count), {_MARK: vectors.first})


class PromptTokenizer:
    """Tokenizes prompts like the WebUI.

    Args:
        embeddings: Names of embeddings, and their rows in the table of vectors.
    """

    def __init__(self, embeddings: Sequence[tuple[str, VectorRows]] = ()) -> None:
        self._names = EmbeddingNames((name, rows.count) for name, rows in embeddings)
        self._first_rows = {name: rows.first for name, rows in embeddings}

    def tokenize(self, prompt: str) -> TokenizedPrompt:
        """Tokenize a prompt without prompt editing and AND.

        Raises:
            InvalidInput: A weight is not a number.
        """
        return _tokenize(prompt, self._names, self._first_rows)


def batch_tokenized(prompts: Sequence[TokenizedPrompt]) -> PromptBatch:
    """Combine prompts into a batch. Shorter prompts are padded with empty chunks, as in the WebUI."""
    batch = batch_prompts([[list(chunk) for chunk in prompt.tokens] for prompt in prompts])
    if all(weight == 1 for prompt in prompts for chunk in prompt.weights for weight in chunk):
        return batch
    weights = torch.ones(batch.ids.shape)
    for row, prompt in enumerate(prompts):
        for index, chunk in enumerate(prompt.weights):
            weights[row, index, 1 : len(chunk) + 1] = torch.tensor(chunk)
    return PromptBatch(batch.ids, batch.slots, weights)


class _MarkFinder:
    """Finds one embedding by its placeholder."""

    def __init__(self, vectors: int) -> None:
        self._vectors = vectors

    def find(self, text: str) -> Iterator[int | EmbeddingMatch]:
        for index, part in enumerate(text.split(_MARK)):
            if index:
                yield EmbeddingMatch(_MARK, self._vectors, END_OF_TEXT)
            yield from token_ids(part) if part.strip() else ()


def _tokenize(prompt: str, finder: EmbeddingFinder, first_rows: dict[str, int]) -> TokenizedPrompt:
    # An embedding that moves to the next chunk keeps its vectors, unlike in the WebUI, which has a bug there.
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
