"""Values as the WebUI writes them into images: JSON, with a tensor as `{"TORCHTENSOR": [[…], …]}`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

import torch

from train_embedding.embeddings.formats.content import first_line, unreadable

MAX_JSON = 4 * 2**20
"Bytes; 75 vectors for SDXL take 3.4 MB. A list of empty lists grows to twenty times its text in memory."

_MAX_LISTS = 10_000
"Rows and dictionaries; a million of them keep Python's garbage collector busy for seconds."
_TENSOR = "TORCHTENSOR"
_LONGEST_NUMBER = 18


def decode(text: bytes, file: str) -> dict[str, object]:
    """The values of a JSON object, with true tensors in them, one dictionary deep. Raises UnreadableFile."""
    if len(text) > MAX_JSON:
        raise unreadable(file, f"carries a text of more than {MAX_JSON // 2**20} MB, too large for an embedding.")
    if text.count(b"[") + text.count(b"{") > _MAX_LISTS:
        raise unreadable(file, f"carries more than {_MAX_LISTS:,} lists, far more than an embedding has vectors.")
    try:
        held = json.loads(text, parse_int=_number)
        if not isinstance(held, dict):
            raise ValueError("what it carries is no dictionary")
        return {key: _plain(value, True) for key, value in cast("dict[str, Any]", held).items()}
    except Exception as error:  # JSON that nests too deep, numbers that make no table
        raise unreadable(file, f"carries something damaged, or no embedding: {first_line(error)}") from error


def encode(values: Mapping[str, object]) -> bytes:
    """The values as the WebUI reads them; a number in fp32 keeps every bit."""
    return json.dumps(values, default=_tensor_as_lists).encode()


def _tensor_as_lists(value: object) -> dict[str, object]:
    return {_TENSOR: cast("list[object]", cast(Any, value).tolist())}


def _plain(value: Any, deeper: bool) -> object:
    if isinstance(value, dict):
        held = cast("dict[str, Any]", value)
        if _TENSOR in held:
            # Through fp64, in which the text is exact.
            return torch.tensor(held[_TENSOR], dtype=torch.float64)
        return {key: _plain(each, False) for key, each in held.items()} if deeper else held
    return value


def _number(text: str) -> int | float:
    """Long whole numbers become floats: turning them into integers takes the square of their length."""
    return int(text) if len(text) <= _LONGEST_NUMBER else float(text)
