"""OneTrainer, for one text encoder: the vectors under `emp_params`."""

from __future__ import annotations

import torch

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.format_names import FormatName
from train_embedding.embeddings.formats.content import Content, unreadable
from train_embedding.embeddings.formats.layouts.common import OUTPUT_ENDING, about, only, single

NAME: FormatName = "onetrainer"
_KEY = "emp_params"
_OUTPUT_KEY = f"{_KEY}{OUTPUT_ENDING}"


def sniff(content: Content) -> bool:
    return any(isinstance(content.values.get(key), torch.Tensor) for key in (_KEY, _OUTPUT_KEY))


def read(content: Content, file: str) -> Embedding:
    """Raises UnreadableFile where there are only vectors that stand in for what text encoders put out."""
    tensor = content.values.get(_KEY)
    if not isinstance(tensor, torch.Tensor):
        reason = f'holds vectors for what text encoders put out ("{_OUTPUT_KEY}"), which OneTrainer alone can use.'
        raise unreadable(file, reason, "Train it there with a normal embedding instead of an output embedding.")
    return single(content, file, tensor, NAME)


def write(embedding: Embedding) -> Content:
    """For an embedding of one text encoder. Raises InvalidInput for another."""
    return Content({_KEY: only(embedding)}, about(embedding))
