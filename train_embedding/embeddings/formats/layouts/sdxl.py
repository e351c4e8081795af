"""SDXL layout, which every trainer writes and every host reads: a tensor per text encoder, under `clip_l` and `clip_g`."""

from __future__ import annotations

import torch

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.format_names import FormatName
from train_embedding.embeddings.formats.content import Content, unreadable
from train_embedding.embeddings.formats.layouts.common import OUTPUT_ENDING, OUTPUT_HINT, about, embedding_of, output_embedding
from train_embedding.embeddings.text_encoders import KEYS
from train_embedding.messages import msg

NAME: FormatName = "sdxl"
_OUTPUT_KEYS = tuple(f"{key}{OUTPUT_ENDING}" for key in KEYS)


def sniff(content: Content) -> bool:
    return any(isinstance(content.values.get(key), torch.Tensor) for key in (*KEYS, *_OUTPUT_KEYS))


def read(content: Content, file: str) -> Embedding:
    """Read the embedding.

    Raises:
        UnreadableFile: It has vectors for other text encoders, such as those of SD3 or Flux, or is an output embedding.
    """
    tensors = {key: value for key, value in content.values.items() if isinstance(value, torch.Tensor)}
    others = [key for key in tensors if key not in KEYS]
    if outputs := [key for key in others if key in _OUTPUT_KEYS]:
        raise unreadable(file, output_embedding(outputs), OUTPUT_HINT)
    if others:
        reason = msg(
            'also contains vectors for "{encoder}", which is not a text encoder of a supported model.', encoder=others[0]
        )
        raise unreadable(file, reason)
    return embedding_of(content, file, tensors, NAME)


def write(embedding: Embedding) -> Content:
    """Arrange an embedding in this layout. The values are only tensors, since the WebUI calls `.detach()` on every value."""
    return Content(dict(embedding.vectors), about(embedding))
