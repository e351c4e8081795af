"""OneTrainer's layout for one text encoder: the vectors under `emp_params`."""

from __future__ import annotations

import torch

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.format_names import FormatName
from train_embedding.embeddings.formats.content import Content, unreadable
from train_embedding.embeddings.formats.layouts.common import OUTPUT_ENDING, OUTPUT_HINT, about, only, output_embedding, single

NAME: FormatName = "onetrainer"
_KEY = "emp_params"
_OUTPUT_KEY = f"{_KEY}{OUTPUT_ENDING}"


def sniff(content: Content) -> bool:
    return any(isinstance(content.values.get(key), torch.Tensor) for key in (_KEY, _OUTPUT_KEY))


def read(content: Content, file: str) -> Embedding:
    """Read the embedding.

    Raises:
        UnreadableFile: The file contains only an output embedding, which replaces the output of a text encoder.
    """
    tensor = content.values.get(_KEY)
    if not isinstance(tensor, torch.Tensor):
        raise unreadable(file, output_embedding([_OUTPUT_KEY]), OUTPUT_HINT)
    return single(content, file, tensor, NAME)


def write(embedding: Embedding) -> Content:
    """Arrange an embedding in this layout.

    Raises:
        InvalidInput: It has several text encoders.
    """
    return Content({_KEY: only(embedding)}, about(embedding))
