"""Layout of kohya's trainer for one text encoder: the vectors under `emb_params`."""

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
    """Read the embedding.

    Raises:
        UnreadableFile: The tensor does not contain the vectors of an embedding.
    """
    return single(content, file, content.values[_KEY], NAME)


def write(embedding: Embedding) -> Content:
    """Arrange an embedding in this layout.

    Raises:
        InvalidInput: It has several text encoders.
    """
    return Content({_KEY: only(embedding)}, about(embedding))
