"""What the layouts share: vectors and metadata as an embedding, and back."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from pathlib import PurePath
from typing import cast

import torch

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.format_names import FormatName
from train_embedding.embeddings.formats.content import Content, unreadable
from train_embedding.embeddings.text_encoders import KEYS, key_for_width
from train_embedding.errors import InvalidInput

OUTPUT_ENDING = "_out"
"What OneTrainer ends the keys of vectors with that stand in for what a text encoder puts out."
MAX_TEXTS = 64
MAX_TEXT = 4096
"Characters of one text among the metadata; longer ones, such as pictures as data URLs, are left out."

_LOOKED_AT = 1000
"Of the entries; a small pickle can name one text under thousands of keys."
_FIELDS = ("name", "step", "sd_checkpoint", "sd_checkpoint_name")
_NOT_ABOUT_IT = frozenset({*_FIELDS, *KEYS, "string_to_token", "string_to_param", "format"})
_LARGEST = 2**63


def embedding_of(content: Content, file: str, vectors: Mapping[str, torch.Tensor], format_name: FormatName) -> Embedding:
    """The embedding that a file holds; its name is the file's stem.

    vectors: per text encoder; a single vector may lack its dimension. format_name: the layout's name. Raises UnreadableFile.
    """
    name = PurePath(file).stem
    metadata = content.metadata
    try:
        return Embedding(
            name=name,
            vectors={key: table(tensor) for key, tensor in vectors.items()},
            step=_whole_number(metadata.get("step")),
            checkpoint_name=_text(metadata.get("sd_checkpoint_name")),
            checkpoint_hash=_text(metadata.get("sd_checkpoint")),
            format=content.format or format_name,
            metadata=_about(metadata, name),
        )
    except InvalidInput as error:
        raise unreadable(file, f"holds no usable embedding: {error.message}") from error


def single(content: Content, file: str, tensor: object, format_name: FormatName) -> Embedding:
    """The embedding of a file with one tensor; its width tells the text encoder. Raises UnreadableFile."""
    held = table(cast(torch.Tensor, tensor))
    return embedding_of(content, file, {key_for_width(held.shape[-1] if held.ndim else 0): held}, format_name)


def only(embedding: Embedding) -> torch.Tensor:
    """The vectors of an embedding for one text encoder. Raises InvalidInput for another."""
    if len(embedding.vectors) > 1:
        raise InvalidInput(f'"{embedding.name}" has vectors for {" and ".join(embedding.vectors)}; this layout has room for one.')
    return next(iter(embedding.vectors.values()))


def tensors_in(values: Mapping[str, object]) -> list[torch.Tensor]:
    """The tensors among the values, in their order."""
    return [value for value in values.values() if isinstance(value, torch.Tensor)]


def about(embedding: Embedding) -> dict[str, object]:
    """What a file says about an embedding, under the names that the WebUI gives these fields."""
    known = (embedding.name, embedding.step, embedding.checkpoint_hash, embedding.checkpoint_name)
    others = {key: text for key, text in embedding.metadata.items() if key not in _NOT_ABOUT_IT}
    return {**others, **dict(zip(_FIELDS, known, strict=True))}


def table(tensor: torch.Tensor) -> torch.Tensor:
    """Vectors as [n, d]: a single one may come without its dimension."""
    return tensor.unsqueeze(0) if tensor.ndim == 1 else tensor


def _about(metadata: Mapping[str, object], name: str) -> dict[str, str]:
    texts: dict[str, str] = {}
    for key, value in islice(metadata.items(), _LOOKED_AT):
        text = _as_text(value)
        if text and _is_short_text(key) and key not in _NOT_ABOUT_IT and len(texts) < MAX_TEXTS:
            texts[key] = text
    inside = metadata.get("name")
    # A host may go by this name where it is not the file's: the WebUI does so with pictures.
    if _is_short_text(inside) and inside != name:
        texts["name"] = cast(str, inside)
    return texts


def _as_text(value: object) -> str:
    if isinstance(value, int) and abs(value) < _LARGEST:
        return str(value)
    if isinstance(value, float):
        return repr(value)
    return value if isinstance(value, str) and _is_short_text(value) else ""


def _is_short_text(value: object) -> bool:
    """Whether it is a text of some characters that every file can hold: lone surrogates have no bytes."""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TEXT:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _whole_number(value: object) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= 15:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _LARGEST else None


def _text(value: object) -> str | None:
    return cast(str, value) if _is_short_text(value) else None
