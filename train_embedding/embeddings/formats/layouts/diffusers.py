"""diffusers' layout for one text encoder: a single tensor, [n, d] or [d], under the trigger word."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import PurePath

import torch

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.format_names import FormatName
from train_embedding.embeddings.formats.content import Content, unreadable
from train_embedding.embeddings.formats.layouts.common import about, embedding_of, only, single, tensors_in
from train_embedding.messages import msg

NAME: FormatName = "diffusers"
TOKEN = "token"
"Metadata key of the trigger word that the embedding was trained with."
_GENERIC = re.compile(r"learned_embeds(_2)?(-steps-\d+)?")
_FIRST = re.compile(r"(learned_embeds)(-steps-\d+)?(\.[^.]+)")
_SECOND = re.compile(r"(.+)_2(-steps-\d+)?(\.[^.]+)")
'Names that diffusers\' SDXL example uses: "learned_embeds_2.safetensors", "learned_embeds_2-steps-500.safetensors".'


def sniff(content: Content) -> bool:
    return len(tensors_in(content.values)) == 1


def read(content: Content, file: str) -> Embedding:
    """Read the embedding.

    Raises:
        UnreadableFile: The tensor does not contain the vectors of an embedding.
    """
    key = next(key for key, value in content.values.items() if isinstance(value, torch.Tensor))
    metadata = content.metadata
    if is_generic(file):  # the key is the trigger word, which the file name does not contain
        metadata = {TOKEN: key, **{name: value for name, value in metadata.items() if name != key}}
    return single(replace(content, metadata=metadata), file, content.values[key], NAME)


def write(embedding: Embedding) -> Content:
    """Arrange an embedding in this layout.

    Raises:
        InvalidInput: It has several text encoders.
    """
    return Content({embedding.name: only(embedding)}, about(embedding))


def is_generic(file: str) -> bool:
    """Return whether a file has the name that diffusers' examples give every embedding."""
    return _GENERIC.fullmatch(PurePath(file).stem) is not None


def second_of_pair(file: str) -> str:
    """Return the file name for SDXL's second text encoder, given the one for the first; empty for other names."""
    named = _FIRST.fullmatch(file)
    return f"{named[1]}_2{named[2] or ''}{named[3]}" if named else ""


def first_of_pair(file: str) -> str:
    """Return the file name for SDXL's first text encoder, given the one for the second; empty for other names."""
    named = _SECOND.fullmatch(file)
    return f"{named[1]}{named[2] or ''}{named[3]}" if named else ""


def join(first: Embedding, second: Embedding, file: str) -> Embedding:
    """Join two embeddings, each for one of SDXL's text encoders, in either order.

    Args:
        first: The first embedding, whose metadata is used.
        second: The other embedding.
        file: Name of the first file.

    Raises:
        UnreadableFile: One of them has several text encoders, or both have the same.
    """
    if len(first.vectors) > 1 or len(second.vectors) > 1 or first.widths == second.widths:
        reason = msg("and the next file do not belong together: each must contain vectors for another text encoder of SDXL.")
        raise unreadable(file, reason)
    tensors = (only(first), only(second))
    if tensors[0].shape[1] > tensors[1].shape[1]:
        tensors = tensors[::-1]  # given in reverse order
    pair = {"clip_l": tensors[0], "clip_g": tensors[1]}
    return embedding_of(Content(pair, about(first)), file, pair, NAME)
