"""The JSON that the WebUI writes into images, with tensors as `{"TORCHTENSOR": [[…], …]}`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

import torch

from train_embedding.embeddings.formats.content import reason_of, unreadable
from train_embedding.errors import UnreadableFile
from train_embedding.messages import msg

MAX_JSON = 4 * 2**20
"Bytes. 75 vectors for SDXL take 3.4 MB. Malicious JSON of empty lists takes 20 times its size in memory."

_MAX_LISTS = 10_000
"Lists and dictionaries. A million of them would keep Python's garbage collector busy for seconds."
_TENSOR = "TORCHTENSOR"
_MAX_DIGITS = 18


def decode(text: bytes, file: str) -> dict[str, object]:
    """Decode a JSON object, with tensors at the top level or one dictionary deep.

    Raises:
        UnreadableFile: It is too large, damaged, or not an object.
    """
    if len(text) > MAX_JSON:
        raise unreadable(
            file, msg("contains a text of more than {limit} MB, too large for an embedding.", limit=MAX_JSON // 2**20)
        )
    if text.count(b"[") + text.count(b"{") > _MAX_LISTS:
        raise unreadable(file, msg("contains more than {limit:,} lists, too many for an embedding.", limit=_MAX_LISTS))
    try:
        held = json.loads(text, parse_int=_number)
        if not isinstance(held, dict):
            raise unreadable(file, msg("contains JSON data that is not an object."))
        return {key: _plain(value, True) for key, value in cast("dict[str, Any]", held).items()}
    except UnreadableFile:
        raise
    except Exception as error:  # such as JSON that is nested too deep, or rows of different lengths
        raise unreadable(file, msg("contains damaged data, or no embedding: {reason}.", reason=reason_of(error))) from error


def encode(values: Mapping[str, object]) -> bytes:
    """Encode values as the WebUI reads them; fp32 numbers are exact."""
    return json.dumps(values, default=_tensor_as_lists).encode()


def _tensor_as_lists(value: object) -> dict[str, object]:
    return {_TENSOR: cast("list[object]", cast(Any, value).tolist())}


def _plain(value: Any, deeper: bool) -> object:
    """Convert lists that stand for tensors; `deeper` includes those in a dictionary."""
    if isinstance(value, dict):
        held = cast("dict[str, Any]", value)
        if _TENSOR in held:
            # fp64 represents the decimal text exactly enough for fp32.
            return torch.tensor(held[_TENSOR], dtype=torch.float64)
        return {key: _plain(each, False) for key, each in held.items()} if deeper else held
    return value


def _number(text: str) -> int | float:
    """Parse a whole number; long ones become floats, since parsing integers takes quadratic time."""
    return int(text) if len(text) <= _MAX_DIGITS else float(text)
