"""kohya's trainer, for one text encoder: the vectors under `emb_params`."""

from __future__ import annotations

import torch

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.format_names import FormatName
from train_embedding.embeddings.formats.content import Content
from train_embedding.embeddings.formats.layouts.common import about, only, single

NAME: FormatName = "kohya"
_KEY = "emb_params"


def sniff(content: Content) -> bool:
    return isinstance(content.values.get(_KEY), torch.Tensor)


def read(content: Content, file: str) -> Embedding:
    """Raises UnreadableFile where the tensor is no table of vectors."""
    return single(content, file, content.values[_KEY], NAME)


def write(embedding: Embedding) -> Content:
    """For an embedding of one text encoder. Raises InvalidInput for another."""
    return Content({_KEY: only(embedding)}, about(embedding))
