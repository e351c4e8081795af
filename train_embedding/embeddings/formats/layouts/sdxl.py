"""A tensor per text encoder, under `clip_l` and `clip_g`: what every trainer writes for SDXL, and every host reads."""

from __future__ import annotations

import torch

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.format_names import FormatName
from train_embedding.embeddings.formats.content import Content, unreadable
from train_embedding.embeddings.formats.layouts.common import OUTPUT_ENDING, about, embedding_of
from train_embedding.embeddings.text_encoders import KEYS

NAME: FormatName = "sdxl"
_OUTPUT_KEYS = tuple(f"{key}{OUTPUT_ENDING}" for key in KEYS)


def sniff(content: Content) -> bool:
    return any(isinstance(content.values.get(key), torch.Tensor) for key in (*KEYS, *_OUTPUT_KEYS))


def read(content: Content, file: str) -> Embedding:
    """Raises UnreadableFile where there are vectors for further text encoders, as for SD3 or Flux, or for what they put out."""
    tensors = {key: value for key, value in content.values.items() if isinstance(value, torch.Tensor)}
    others = [key for key in tensors if key not in KEYS]
    if outputs := [key for key in others if key in _OUTPUT_KEYS]:
        listed = " and ".join(f'"{key}"' for key in outputs)
        reason = f"holds vectors for what text encoders put out ({listed}), which OneTrainer alone can use."
        raise unreadable(file, reason, "Train it there with a normal embedding instead of an output embedding.")
    if others:
        raise unreadable(file, f'holds vectors for "{others[0][:40]}" too, a text encoder of none of the known models.')
    return embedding_of(content, file, tensors, NAME)


def write(embedding: Embedding) -> Content:
    """The tensors stand alone: the WebUI calls `.detach()` on every value."""
    return Content(dict(embedding.vectors), about(embedding))
