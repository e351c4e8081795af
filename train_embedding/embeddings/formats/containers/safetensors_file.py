"""Safetensors files: tensors, and metadata as texts in the header."""

from __future__ import annotations

import json
from typing import cast

import torch
from safetensors.torch import load, save

from train_embedding.embeddings.formats.content import MAX_DIMENSIONS, MAX_TENSORS, Content, reason_of, unreadable
from train_embedding.errors import UnreadableFile
from train_embedding.messages import msg

SUFFIXES: tuple[str, ...] = (".safetensors", ".sft")
MAX_HEADER = 2 * 2**20
"Bytes. Some trainers store a small image in the header."

_LENGTH_BYTES = 8


def sniff(data: bytes) -> bool:
    """Return whether the data begins with a safetensors header: its length in eight bytes, then a JSON object."""
    length = _header_length(data)
    return 2 <= length <= len(data) - _LENGTH_BYTES and data[_LENGTH_BYTES : _LENGTH_BYTES + 1] == b"{"


def read(data: bytes, file: str) -> Content:
    """Read the tensors, to the CPU, and the metadata in the header.

    Raises:
        UnreadableFile: The file is damaged, or has too many or unusual tensors.
    """
    if _header_length(data) > MAX_HEADER:
        raise unreadable(
            file, msg("has a header of more than {limit} MB, too large for an embedding.", limit=MAX_HEADER // 2**20)
        )
    try:
        header = cast("dict[str, object]", json.loads(data[_LENGTH_BYTES : _LENGTH_BYTES + _header_length(data)]))
        metadata = header.pop("__metadata__", None)
        if len(header) > MAX_TENSORS:
            raise unreadable(file, msg("contains {count} tensors, too many for an embedding.", count=len(header)))
        for described in header.values():
            _check_dimensions(described, file)
        return Content(load(data), cast("dict[str, object]", metadata) if isinstance(metadata, dict) else {})
    except UnreadableFile:
        raise
    except Exception as error:  # safetensors raises KeyError, ValueError and RuntimeError besides its own error
        raise unreadable(file, msg("is damaged or not a safetensors file: {reason}.", reason=reason_of(error))) from error


def write(content: Content, suffix: str) -> bytes:
    """Return the bytes of a file with the tensors among the values, and the metadata as texts in the header."""
    texts = {key: str(value) for key, value in content.metadata.items() if value is not None}
    return save({key: value for key, value in content.values.items() if isinstance(value, torch.Tensor)}, texts)


def _check_dimensions(described: object, file: str) -> None:
    shape = cast("dict[str, object]", described).get("shape") if isinstance(described, dict) else None
    if isinstance(shape, list) and (count := len(cast("list[object]", shape))) > MAX_DIMENSIONS:
        raise unreadable(file, msg("contains a tensor with {count} dimensions; those of embeddings have two.", count=count))


def _header_length(data: bytes) -> int:
    """Return the length of the JSON header in bytes."""
    return int.from_bytes(data[:_LENGTH_BYTES], "little")
