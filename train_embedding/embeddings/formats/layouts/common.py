"""Functions that all layouts use: converting vectors and metadata to an embedding and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import PurePath
from typing import cast

import torch

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.format_names import FormatName
from train_embedding.embeddings.formats.content import Content, unreadable
from train_embedding.embeddings.text_encoders import KEYS, key_for_width
from train_embedding.errors import InvalidInput
from train_embedding.messages import Message, joined, msg

OUTPUT_ENDING = "_out"
"Suffix of OneTrainer's keys for output embeddings, which replace the output of a text encoder."
OUTPUT_HINT = msg("In OneTrainer, train a normal embedding instead of an output embedding.")
MAX_TEXTS = 64
"Texts of metadata that are read."
MAX_TEXT = 4096
"Characters of a text of metadata. Longer ones, such as images as data URLs, are skipped."

_MAX_ENTRIES = 1000
"Entries of metadata that are examined; a small pickle can use one text under thousands of keys."
_FIELDS = ("name", "step", "sd_checkpoint", "sd_checkpoint_name")
_NOT_METADATA = frozenset({*_FIELDS, *KEYS, "string_to_token", "string_to_param", "format"})
_MAX_NUMBER = 2**63


def embedding_of(content: Content, file: str, vectors: Mapping[str, torch.Tensor], format_name: FormatName) -> Embedding:
    """Make the embedding of a file.

    Args:
        content: The content of the file.
        file: Its name, whose stem becomes the name of the embedding.
        vectors: [n, d] or [d] by text encoder.
        format_name: The format, unless the container determines it.

    Raises:
        UnreadableFile: The tensors are not the vectors of an embedding.
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
        raise unreadable(file, msg("contains no valid embedding: {reason}", reason=error.message)) from error


def single(content: Content, file: str, tensor: object, format_name: FormatName) -> Embedding:
    """Make the embedding of a file with one tensor, whose width determines the text encoder.

    Raises:
        UnreadableFile: The tensor does not contain the vectors of an embedding.
    """
    vectors = table(cast(torch.Tensor, tensor))
    return embedding_of(content, file, {key_for_width(vectors.shape[-1] if vectors.ndim else 0): vectors}, format_name)


def only(embedding: Embedding) -> torch.Tensor:
    """Return the vectors of an embedding with one text encoder, [n, d].

    Raises:
        InvalidInput: The embedding has several.
    """
    if len(embedding.vectors) > 1:
        raise InvalidInput(
            msg('"{name}" has vectors for {encoders}; this format supports only one text encoder.',
                name=embedding.name, encoders=joined(embedding.vectors))
        )  # fmt: skip
    return next(iter(embedding.vectors.values()))


def output_embedding(keys: Iterable[str]) -> Message:
    """Say that a file contains an output embedding, as the rest of a sentence that begins with its name."""
    listed = joined(msg('"{name}"', name=key) for key in keys)
    return msg("contains vectors for the output of text encoders ({keys}), which only OneTrainer can use.", keys=listed)


def tensors_in(values: Mapping[str, object]) -> list[torch.Tensor]:
    """Return the tensors among the values, in their order."""
    return [value for value in values.values() if isinstance(value, torch.Tensor)]


def about(embedding: Embedding) -> dict[str, object]:
    """Return the metadata of an embedding under the WebUI's keys."""
    known = (embedding.name, embedding.step, embedding.checkpoint_hash, embedding.checkpoint_name)
    others = {key: text for key, text in embedding.metadata.items() if key not in _NOT_METADATA}
    return {**others, **dict(zip(_FIELDS, known, strict=True))}


def table(tensor: torch.Tensor) -> torch.Tensor:
    """Return vectors as [n, d]; a single vector may be given as [d]."""
    return tensor.unsqueeze(0) if tensor.ndim == 1 else tensor


def _about(metadata: Mapping[str, object], name: str) -> dict[str, str]:
    """Return the short texts among the metadata, and the name in the file if it differs from the embedding's."""
    texts: dict[str, str] = {}
    for key, value in islice(metadata.items(), _MAX_ENTRIES):
        text = _as_text(value)
        if text and _is_short_text(key) and key not in _NOT_METADATA and len(texts) < MAX_TEXTS:
            texts[key] = text
    inside = metadata.get("name")
    # Hosts may use this name instead of the file's; the WebUI does for images.
    if _is_short_text(inside) and inside != name:
        texts["name"] = cast(str, inside)
    return texts


def _as_text(value: object) -> str:
    if isinstance(value, int) and abs(value) < _MAX_NUMBER:
        return str(value)
    if isinstance(value, float):
        return repr(value)
    return value if isinstance(value, str) and _is_short_text(value) else ""


def _is_short_text(value: object) -> bool:
    """Return whether a value is a text that is not empty, not too long, and can be encoded (without lone surrogates)."""
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
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MAX_NUMBER else None


def _text(value: object) -> str | None:
    return cast(str, value) if _is_short_text(value) else None
