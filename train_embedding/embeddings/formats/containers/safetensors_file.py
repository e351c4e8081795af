"""`.safetensors` and `.sft`: tensors, and texts about them in the header."""

from __future__ import annotations

import json
from typing import cast

import torch
from safetensors.torch import load, save

from train_embedding.embeddings.formats.content import MAX_DIMENSIONS, MAX_TENSORS, Content, first_line, unreadable
from train_embedding.errors import UnreadableFile

SUFFIXES: tuple[str, ...] = (".safetensors", ".sft")
MAX_HEADER = 2 * 2**20
"Bytes; some trainers put a small picture there."

_LENGTH_BYTES = 8


def sniff(data: bytes) -> bool:
    """Whether a safetensors header begins here: its length in eight bytes, then a JSON object."""
    length = _header_length(data)
    return 2 <= length <= len(data) - _LENGTH_BYTES and data[_LENGTH_BYTES : _LENGTH_BYTES + 1] == b"{"


def read(data: bytes, file: str) -> Content:
    """The tensors, on the CPU, and the texts of the header. Raises UnreadableFile."""
    if _header_length(data) > MAX_HEADER:
        raise unreadable(file, f"has a header of more than {MAX_HEADER // 2**20} MB, too large for an embedding.")
    try:
        header = cast("dict[str, object]", json.loads(data[_LENGTH_BYTES : _LENGTH_BYTES + _header_length(data)]))
        metadata = header.pop("__metadata__", None)
        if len(header) > MAX_TENSORS:
            raise unreadable(file, f"holds {len(header)} tensors, far more than an embedding has.")
        for described in header.values():
            _check_dimensions(described, file)
        return Content(load(data), cast("dict[str, object]", metadata) if isinstance(metadata, dict) else {})
    except UnreadableFile:
        raise
    except Exception as error:  # besides its own error, safetensors lets KeyError, ValueError and RuntimeError through
        raise unreadable(file, f"is damaged or not a safetensors file: {first_line(error)}") from error


def write(content: Content, suffix: str) -> bytes:
    """The bytes of a file with the tensors among the values; the metadata stands in the header, as texts."""
    texts = {key: str(value) for key, value in content.metadata.items() if value is not None}
    return save({key: value for key, value in content.values.items() if isinstance(value, torch.Tensor)}, texts)


def _check_dimensions(described: object, file: str) -> None:
    shape = cast("dict[str, object]", described).get("shape") if isinstance(described, dict) else None
    if isinstance(shape, list) and (count := len(cast("list[object]", shape))) > MAX_DIMENSIONS:
        raise unreadable(file, f"holds a tensor of {count} dimensions; an embedding's has two.")


def _header_length(data: bytes) -> int:
    return int.from_bytes(data[:_LENGTH_BYTES], "little")
