"""Serialization of nested values with tensors to the bytes of a `.safetensors` file, and back, without any loss.

Tensors are stored under numbers. Everything else is JSON in the header of the file. Values that JSON does not have are
dictionaries with one key for their type: "tensor", "tuple" or "dict" (a list of pairs, as keys may be numbers).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

import torch

from train_embedding.messages import msg

_ENTRY = "values"
"Entry with the JSON in the metadata of the header."
_LENGTH_BYTES = 8


def to_bytes(values: object) -> bytes:
    """Serialize numbers, text, booleans, None, tensors, and lists, tuples and dictionaries of them.

    Raises:
        TypeError: A value has another type.
    """
    from safetensors.torch import save

    tensors: dict[str, torch.Tensor] = {}
    packed = json.dumps(_packed(values, tensors))
    # Without any tensor, safetensors 0.4.2 writes a header that it cannot read.
    return save(tensors or {"": torch.zeros(1)}, {_ENTRY: packed})


def from_bytes(data: bytes) -> object:
    """Restore the values from the result of `to_bytes`, with tensors on the CPU.

    Raises:
        ValueError: The data is damaged, or something else. Its argument is a message: the end of a sentence, without a period.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensors = load(data)
        length = int.from_bytes(data[:_LENGTH_BYTES], "little")
        header: Any = json.loads(data[_LENGTH_BYTES : _LENGTH_BYTES + length])
        return _unpacked(json.loads(header["__metadata__"][_ENTRY]), tensors)
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = type(error).__name__
        raise ValueError(msg("it is damaged, or not a file of saved values ({reason})", reason=reason)) from error


def _packed(value: object, tensors: dict[str, torch.Tensor]) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, torch.Tensor):
        name = str(len(tensors))
        tensors[name] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        return {"tensor": name}
    if isinstance(value, list | tuple):
        items = [_packed(item, tensors) for item in cast("list[object]", value)]
        return items if isinstance(value, list) else {"tuple": items}
    if isinstance(value, Mapping):
        pairs = cast("Mapping[object, object]", value).items()
        return {"dict": [[_key(key), _packed(item, tensors)] for key, item in pairs]}
    raise TypeError(f"A {type(value).__name__} cannot be saved.")


def _key(key: object) -> str | int:
    if isinstance(key, bool) or not isinstance(key, str | int):
        raise TypeError(f"A {type(key).__name__} cannot be a key.")
    return key


def _unpacked(value: Any, tensors: Mapping[str, torch.Tensor]) -> object:
    if isinstance(value, list):
        return [_unpacked(item, tensors) for item in cast("list[Any]", value)]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = cast("dict[str, Any]", value).items()
    if kind == "tensor":
        return tensors[content]
    if kind == "tuple":
        return tuple(_unpacked(item, tensors) for item in content)
    if kind == "dict":
        return {_key(key): _unpacked(item, tensors) for key, item in content}
    raise ValueError(f'there is no type "{kind}"')
