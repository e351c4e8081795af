"""diffusers, for one text encoder: one tensor, [n, d] or [d], under the token that calls it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import PurePath

import torch

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.format_names import FormatName
from train_embedding.embeddings.formats.content import Content, unreadable
from train_embedding.embeddings.formats.layouts.common import about, embedding_of, only, single, tensors_in

NAME: FormatName = "diffusers"
TOKEN = "token"
"Where the metadata keeps the word that it was trained as."
_GENERIC = re.compile(r"learned_embeds(_2)?(-steps-\d+)?")
_FIRST = re.compile(r"(learned_embeds)(-steps-\d+)?(\.[^.]+)")
_SECOND = re.compile(r"(.+)_2(-steps-\d+)?(\.[^.]+)")
'As diffusers\' SDXL example names them: "learned_embeds_2.safetensors", "learned_embeds_2-steps-500.safetensors".'


def sniff(content: Content) -> bool:
    return len(tensors_in(content.values)) == 1


def read(content: Content, file: str) -> Embedding:
    """Raises UnreadableFile where the tensor is no table of vectors."""
    key = next(key for key, value in content.values.items() if isinstance(value, torch.Tensor))
    metadata = content.metadata
    if is_generic(file):  # which says nothing of what it was trained as
        metadata = {TOKEN: key, **{name: value for name, value in metadata.items() if name != key}}
    return single(replace(content, metadata=metadata), file, content.values[key], NAME)


def write(embedding: Embedding) -> Content:
    """For an embedding of one text encoder. Raises InvalidInput for another."""
    return Content({embedding.name: only(embedding)}, about(embedding))


def is_generic(file: str) -> bool:
    """Whether a file is called as diffusers' examples call every embedding."""
    return _GENERIC.fullmatch(PurePath(file).stem) is not None


def second_of_pair(file: str) -> str:
    """The name of the file for SDXL's second text encoder, where `file` is called as that for the first one; or nothing."""
    named = _FIRST.fullmatch(file)
    return f"{named[1]}_2{named[2] or ''}{named[3]}" if named else ""


def first_of_pair(file: str) -> str:
    """The name of the file for SDXL's first text encoder where `file` is named as the one for the second, or nothing."""
    named = _SECOND.fullmatch(file)
    return f"{named[1]}{named[2] or ''}{named[3]}" if named else ""


def join(first: Embedding, second: Embedding, file: str) -> Embedding:
    """One embedding of two, the first for SDXL's first text encoder, the second for its second.

    Raises UnreadableFile unless each is for one encoder, and the two widths are not those of one model.
    """
    if len(first.vectors) > 1 or len(second.vectors) > 1 or first.widths == second.widths:
        raise unreadable(file, "and the file after it are no pair: each must hold vectors for another text encoder of SDXL.")
    tensors = (only(first), only(second))
    if tensors[0].shape[1] > tensors[1].shape[1]:
        tensors = tensors[::-1]  # given the wrong way round
    pair = {"clip_l": tensors[0], "clip_g": tensors[1]}
    return embedding_of(Content(pair, about(first)), file, pair, NAME)
