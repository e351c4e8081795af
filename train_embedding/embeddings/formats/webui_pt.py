"""The WebUI's `.pt` (and `.bin`): a pickled dictionary of vectors and where they come from."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import cast

import torch

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.formats.layouts import embedding_from
from train_embedding.embeddings.formats.torch_file import is_torch_file, load_torch_file
from train_embedding.errors import UnreadableFile

SUFFIXES: tuple[str, ...] = (".pt", ".bin")
_PLACEHOLDER_TOKEN = 265
'Token id of "*" in CLIP\'s vocabulary, which every file of this layout names.'


def sniff(data: bytes) -> bool:
    """Whether torch saved this, in either of its layouts."""
    return is_torch_file(data)


def read(data: bytes, name: str) -> Embedding:
    """Reads `string_to_param`, `clip_l` and `clip_g`, or a single tensor. Raises UnreadableFile."""
    values = load_torch_file(data, name)
    if not isinstance(values, dict):
        raise UnreadableFile(f'The file of "{name}" holds a {type(values).__name__}, not the dictionary that an embedding is.')
    named = cast("Mapping[str, object]", values)
    return embedding_from(name, named, named)


def write(embedding: Embedding) -> bytes:
    """The bytes of a file that WebUI 1.10.1 reads, whatever torch is installed here or there.

    With several text encoders the vectors stand alone, since the WebUI calls `.detach()` on every value. The layout is
    that of torch before 1.6: the WebUI's safe unpickler takes the zip of torch 2.6 and newer for malicious.
    """
    values: dict[str, object] = dict(embedding.vectors)
    if len(embedding.vectors) == 1:
        values = {
            "string_to_token": {"*": _PLACEHOLDER_TOKEN},
            "string_to_param": {"*": next(iter(embedding.vectors.values()))},
            "name": embedding.name,
            "step": embedding.step,
            "sd_checkpoint": embedding.checkpoint_hash,
            "sd_checkpoint_name": embedding.checkpoint_name,
        }
    packed = io.BytesIO()
    torch.save(values, packed, _use_new_zipfile_serialization=False)
    return packed.getvalue()
