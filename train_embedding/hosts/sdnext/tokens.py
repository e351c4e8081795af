"""Names of embeddings as tokens of SD.Next: removed when they are stale, and added for the time of an image.

SD.Next appends the vectors of every embedding to the token embedding table, under the tokens "name", "name_1", "name_2" and so
on, which it adds to the tokenizer and never removes. This module uses `_tokenizer` of transformers 5, a tokenizer of the package
`tokenizers`.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch

from train_embedding.embeddings.embedding import Embedding
from train_embedding.engine.prompts.tokenizer import END_OF_TEXT

if TYPE_CHECKING:
    from train_embedding.hosts.sdnext.model import Encoder


def tokens_of(name: str, vectors: int) -> list[str]:
    """Return the tokens that SD.Next has for an embedding."""
    return [name, *(f"{name}_{number}" for number in range(1, vectors))]


def added_tokens(tokenizer: Any) -> dict[str, int]:
    """Return the tokens of embeddings in a tokenizer, with their ids."""
    return {token: number for token, number in tokenizer.added_tokens_encoder.items() if number > END_OF_TEXT}


def remove_tokens(tokenizer: Any, tokens: Collection[str]) -> None:
    """Remove tokens of embeddings from a tokenizer. Their ids are kept, since others would change."""
    stale = {number for token, number in added_tokens(tokenizer).items() if token in tokens}
    if stale:
        tokenizer._tokenizer = _without(tokenizer._tokenizer, stale)


@contextmanager
def added_embeddings(encoders: Sequence[Encoder], pipe: Any, embeddings: Sequence[Embedding]) -> Iterator[None]:
    """Let a pipeline use embeddings that need not be files, which take precedence over its own of the same names, until exit.

    The pipeline gets other tokenizers and token embedding tables for that time; its own are not changed.

    Args:
        encoders: Its text encoders.
        pipe: The pipeline.
        embeddings: The embeddings.
    """
    with ExitStack() as stack:
        for encoder in encoders if embeddings else ():
            stack.enter_context(_added(encoder, pipe, embeddings))
        yield


@contextmanager
def _added(encoder: Encoder, pipe: Any, embeddings: Sequence[Embedding]) -> Iterator[None]:
    place = next(name for name in ("tokenizer", "tokenizer_2") if getattr(pipe, name, None) is encoder.tokenizer)
    layer = encoder.module.get_input_embeddings()
    kept = layer.weight
    tokenizer, table = _extended(encoder, embeddings)
    setattr(pipe, place, tokenizer)
    layer.weight = table
    try:
        yield
    finally:
        kept.data = kept.data.to(layer.weight.device)  # offload may have moved the layer
        layer.weight = kept
        setattr(pipe, place, encoder.tokenizer)


def _extended(encoder: Encoder, embeddings: Sequence[Embedding]) -> tuple[Any, torch.nn.Parameter]:
    """Return a tokenizer and a token embedding table with the tokens and the vectors of embeddings."""
    from tokenizers import AddedToken

    old = added_tokens(encoder.tokenizer)
    replaced = {number for token, number in old.items() if any(_belongs_to(token, embedding.name) for embedding in embeddings)}
    tokenizer = copy.copy(encoder.tokenizer)
    tokenizer._tokenizer = _without(encoder.tokenizer._tokenizer, replaced)
    table = encoder.module.get_input_embeddings().weight.detach()
    rows = table.new_zeros((max(len(tokenizer) - len(table), 0), table.shape[1]))
    table = torch.cat([table[: len(tokenizer)], rows])
    for embedding in embeddings:
        vectors = embedding.vectors.get(encoder.key)
        if vectors is None:
            continue
        for token, vector in zip(tokens_of(embedding.name, len(vectors)), vectors, strict=True):
            tokenizer.add_tokens([AddedToken(token, normalized=False)])
            if tokenizer.convert_tokens_to_ids(token) == len(table):  # not for a piece of CLIP's vocabulary, as in SD.Next
                table = torch.cat([table, vector.to(table).unsqueeze(0)])
    return tokenizer, torch.nn.Parameter(table, requires_grad=False)


def _belongs_to(token: str, name: str) -> bool:
    return token == name or (token.startswith(f"{name}_") and token.removeprefix(f"{name}_").isdigit())


def _without(backend: Any, numbers: Collection[int]) -> Any:
    """Return a copy of a tokenizer in which the tokens with some ids have a content that no prompt has."""
    from tokenizers import Tokenizer

    content = backend.to_str()
    if numbers:
        parts = json.loads(content)
        for token in parts["added_tokens"]:
            if token["id"] in numbers:
                token["content"] = f"\ue000{token['id']}\ue000"  # private use
        content = json.dumps(parts)
    return Tokenizer.from_str(content)
