"""The `.safetensors` form: one tensor per text encoder, and where they come from in the header."""

from __future__ import annotations

import json
from typing import cast

from safetensors.torch import load, save

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.formats.layouts import embedding_from
from train_embedding.errors import UnreadableFile

SUFFIXES: tuple[str, ...] = (".safetensors",)
SINGLE_KEY = "emb_params"
"Where kohya's trainer puts the vectors of a model with one text encoder; every host reads it."

_LENGTH_BYTES = 8


def sniff(data: bytes) -> bool:
    """Whether a safetensors header begins here: its length in eight bytes, then a JSON object."""
    length = int.from_bytes(data[:_LENGTH_BYTES], "little")
    return 2 <= length <= len(data) - _LENGTH_BYTES and data[_LENGTH_BYTES : _LENGTH_BYTES + 1] == b"{"


def read(data: bytes, name: str) -> Embedding:
    """Reads `clip_l` and `clip_g`, or a single tensor such as `emb_params`. Raises UnreadableFile."""
    try:
        tensors = load(data)
        length = int.from_bytes(data[:_LENGTH_BYTES], "little")
        header = cast("dict[str, object]", json.loads(data[_LENGTH_BYTES : _LENGTH_BYTES + length]))
    except Exception as error:  # besides its own error, safetensors lets KeyError, ValueError and RuntimeError through
        raise UnreadableFile(f'The file of "{name}" is damaged or not a safetensors file: {str(error)[:200]}') from error
    metadata = header.get("__metadata__")
    return embedding_from(name, tensors, cast("dict[str, object]", metadata) if isinstance(metadata, dict) else {})


def write(embedding: Embedding) -> bytes:
    """The bytes of a file with `emb_params`, or with a tensor per text encoder where there are several."""
    tensors = dict(embedding.vectors)
    if len(tensors) == 1:
        tensors = {SINGLE_KEY: next(iter(tensors.values()))}
    metadata = {
        "name": embedding.name,
        "step": embedding.step,
        "sd_checkpoint": embedding.checkpoint_hash,
        "sd_checkpoint_name": embedding.checkpoint_name,
    }
    return save(tensors, {key: str(value) for key, value in metadata.items() if value is not None})
