"""Create, train and manage textual-inversion embeddings for Stable Diffusion.

The names below are the public Python API; docs/python-api.md shows how to use them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from train_embedding.lazy import lazy_names

if TYPE_CHECKING:
    from train_embedding.embeddings.embedding import Embedding
    from train_embedding.embeddings.formats import read_embedding, write_embedding
    from train_embedding.engine.config import PRESETS, TrainingSpec
    from train_embedding.errors import TrainEmbeddingError
    from train_embedding.hosts.base import Txt2ImgRequest
    from train_embedding.workspace import open_workspace

__version__ = "1.0.0"
__all__ = [
    "PRESETS",
    "Embedding",
    "TrainEmbeddingError",
    "TrainingSpec",
    "Txt2ImgRequest",
    "open_workspace",
    "read_embedding",
    "write_embedding",
]

__getattr__ = lazy_names(
    {
        "Embedding": "train_embedding.embeddings.embedding",
        "PRESETS": "train_embedding.engine.config",
        "TrainEmbeddingError": "train_embedding.errors",
        "TrainingSpec": "train_embedding.engine.config",
        "Txt2ImgRequest": "train_embedding.hosts.base",
        "open_workspace": "train_embedding.workspace",
        "read_embedding": "train_embedding.embeddings.formats",
        "write_embedding": "train_embedding.embeddings.formats",
    }
)
