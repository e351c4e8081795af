"""Plain values with tensors among them, nested as they are, as the bytes of a `.safetensors` file and back, bit for bit.

The tensors are those of the file, numbered; everything else is JSON in its header. What JSON has no word for is a dictionary
with one key that says what it stands for: "tensor", "tuple" or "dict" (as pairs, since a key may be a number).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

import torch

_ENTRY = "values"
"The entry of the header's metadata that holds the JSON."
_LENGTH_BYTES = 8


def to_bytes(values: object) -> bytes:
    """Pack numbers, texts, booleans, None, tensors, and lists, tuples and dictionaries of them.

    Raises:
        TypeError: For a value of another kind.
    """
    from safetensors.torch import save

    tensors: dict[str, torch.Tensor] = {}
    packed = json.dumps(_packed(values, tensors))
    # safetensors 0.4.2 writes a header that it cannot read where there is no tensor at all.
    return save(tensors or {"": torch.zeros(1)}, {_ENTRY: packed})


def from_bytes(data: bytes) -> object:
    """Unpack what `to_bytes` made, its tensors on the CPU.

    Raises:
        ValueError: When it is something else, or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensors = load(data)
        length = int.from_bytes(data[:_LENGTH_BYTES], "little")
        header: Any = json.loads(data[_LENGTH_BYTES : _LENGTH_BYTES + length])
        return _unpacked(json.loads(header["__metadata__"][_ENTRY]), tensors)
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"it is damaged, or not a file of saved values ({type(error).__name__})") from error


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
    raise ValueError(f'There is no kind "{kind}"')
