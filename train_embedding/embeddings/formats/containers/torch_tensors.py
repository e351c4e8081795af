"""Read tensors from torch's pickles: what such a pickle may contain, and how its descriptions become tensors."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch

from train_embedding.embeddings.embedding import MAX_ELEMENTS
from train_embedding.embeddings.formats.containers import numpy_values
from train_embedding.embeddings.formats.containers.pickle_rules import (
    Described,
    DisallowedGlobal,
    Instance,
    Name,
    NotData,
    Rules,
    UnsafeArguments,
    mapping,
)
from train_embedding.embeddings.formats.containers.pickled import MAX_PICKLE
from train_embedding.embeddings.formats.content import MAX_DIMENSIONS
from train_embedding.messages import msg

FROM_NUMPY = "torch._utils._rebuild_device_tensor_from_numpy"
_PARAMETER_DICT = "torch.nn.modules.container.ParameterDict"
_STORAGES = {
    "torch.FloatStorage": torch.float32,
    "torch.DoubleStorage": torch.float64,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.LongStorage": torch.int64,
    "torch.IntStorage": torch.int32,
    "torch.ShortStorage": torch.int16,
    "torch.CharStorage": torch.int8,
    "torch.ByteStorage": torch.uint8,
    "torch.BoolStorage": torch.bool,
}
_MAX_PAIRS = 100
"Of an OrderedDict."


@dataclass(frozen=True)
class Storage:
    """A storage that a pickle refers to; its data is outside the pickle."""

    key: str
    dtype: torch.dtype
    count: int
    "Number of elements."

    @property
    def size(self) -> int:
        """Bytes of its data."""
        return self.count * self.dtype.itemsize


@dataclass(frozen=True)
class _Tensor:
    """A tensor as a pickle describes it: a strided view of a storage."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(frozen=True)
class _DeviceTensor:
    """A tensor from a device without storages, whose numbers are in the pickle."""

    array: numpy_values.Array
    dtype: torch.dtype


def rules(storages: dict[str, Storage], skip_disallowed: bool) -> Rules:
    """Return the rules for the pickle of saved tensors.

    Args:
        storages: Receives the storages that the pickle refers to, by key.
        skip_disallowed: As `Rules.skip_disallowed`.
    """

    def persistent(reference: Any) -> object:
        kind, *details = reference
        if kind == "module":  # a class with its source code, in the old layout
            return details[0]
        if kind != "storage" or (len(details) == 5 and details[4] is not None):
            raise NotData(msg("it refers to external data that is not a tensor"))
        name, key, _, count = details[:4]
        if not isinstance(name, Name) or not isinstance(key, str) or not isinstance(count, int) or count < 0:
            raise NotData(msg("it describes an invalid storage"))
        storage = Storage(key, _STORAGES[name.text], count)
        if storages.setdefault(key, storage) != storage:
            raise NotData(msg("it describes the same storage in two ways"))
        return storage

    return Rules(_FUNCTIONS, (_PARAMETER_DICT,), lambda name: name in _VALUES, persistent, skip_disallowed)


def _rebuilt(storage: Any, offset: Any, size: Any, stride: Any, *_: object) -> _Tensor:
    numbers = (offset, *size[:MAX_DIMENSIONS], *stride[:MAX_DIMENSIONS])
    valid = isinstance(storage, Storage) and len(size) == len(stride) <= MAX_DIMENSIONS
    if not valid or not all(isinstance(number, int) and 0 <= number < 2**62 for number in numbers):
        raise NotData(msg("the size of a tensor is invalid"))
    return _Tensor(storage, offset, tuple(size), tuple(stride))


def _from_numpy(*arguments: object) -> object:
    """Make a tensor from an array. Its dtype may differ from the array's, since NumPy has no bfloat16; the device is ignored."""
    match arguments:
        case (numpy_values.Array(content=bytes() | numpy_values.Encoded()) as array, Name(dtype), str(), bool()) if (
            dtype in _DTYPES
        ):
            return _DeviceTensor(array, _DTYPES[dtype])
        case _:
            raise UnsafeArguments(msg("a tensor from another device is invalid"))


def _parameter(data: Any, *_: object) -> object:
    return data


def _unchanged(items: Any = ()) -> object:
    return items


def _ordered(pairs: Any = ()) -> object:
    if len(pairs) > _MAX_PAIRS:
        raise NotData(msg("its pickle copies a long list"))
    return mapping(pairs)


_FUNCTIONS: dict[str, Callable[..., object]] = {
    **numpy_values.FUNCTIONS,
    "torch._utils._rebuild_tensor_v2": _rebuilt,
    "torch._utils._rebuild_tensor": _rebuilt,
    FROM_NUMPY: _from_numpy,
    "torch._utils._rebuild_parameter": _parameter,
    "torch.Size": _unchanged,
    "builtins.set": _unchanged,
    "__builtin__.set": _unchanged,
    "collections.OrderedDict": _ordered,
}
_DTYPES = {str(dtype): dtype for dtype in _STORAGES.values()}
_VALUES = frozenset({*_STORAGES, *_DTYPES, numpy_values.ARRAY})
"Globals that may be used as values."


def plain_values(saved: dict[object, object], bytes_of: Callable[[Storage], bytes]) -> dict[str, object]:
    """Convert described tensors at the top level or one dictionary deep; no layout of embeddings is deeper.

    Args:
        saved: The value of the pickle.
        bytes_of: Returns the data of a storage.

    Raises:
        NotData: A tensor is damaged or too large.
    """
    return _Values(bytes_of).of(saved, deeper=True)


def nested_values(saved: object, bytes_of: Callable[[Storage], bytes]) -> object:
    """Convert described tensors in nested dictionaries, lists and tuples.

    Args:
        saved: The value of the pickle.
        bytes_of: Returns the data of a storage.

    Raises:
        NotData: A tensor is damaged or too large.
    """
    values = _Values(bytes_of)

    def nested(value: object) -> object:
        if isinstance(value, dict):
            return {key: nested(inner) for key, inner in cast("dict[object, object]", value).items()}
        if isinstance(value, list | tuple):
            items = [nested(inner) for inner in cast("list[object]", value)]
            return items if isinstance(value, list) else tuple(items)
        return values.plain(value, deeper=False)

    return nested(saved)


class _Values:
    """Converts described tensors to tensors."""

    def __init__(self, bytes_of: Callable[[Storage], bytes]) -> None:
        self.bytes_of = bytes_of
        self.storages: dict[str, torch.Tensor] = {}
        self.made: dict[int, object] = {}
        "Converted values by the id of the original: a small pickle can refer to the same object thousands of times."
        self.in_arrays = 0
        "Bytes of NumPy arrays that were converted."

    def of(self, saved: dict[object, object], deeper: bool) -> dict[str, object]:
        return {str(key): self.plain(value, deeper) for key, value in saved.items() if not isinstance(value, DisallowedGlobal)}

    def plain(self, value: object, deeper: bool) -> object:
        if isinstance(value, _Tensor):
            return self.tensor(value)
        if isinstance(value, _DeviceTensor):
            return self.once(value, lambda: self.device_tensor(value))
        if isinstance(value, Instance):  # a ParameterDict, whose values are in this attribute
            state = value.state
            value = cast("dict[object, object]", state).get("_parameters") if isinstance(state, dict) else None
        if deeper and isinstance(value, dict):
            inner = cast("dict[object, object]", value)
            return self.once(inner, lambda: self.of(inner, deeper=False))
        return value

    def once(self, value: object, make: Callable[[], object]) -> object:
        if id(value) not in self.made:
            self.made[id(value)] = make()
        return self.made[id(value)]

    def storage(self, of: Storage) -> torch.Tensor:
        if of.key not in self.storages:
            content = self.bytes_of(of)
            if len(content) < of.size:
                raise NotData(msg("it is cut short"))
            self.storages[of.key] = torch.frombuffer(bytearray(content), dtype=of.dtype)
        return self.storages[of.key]

    def tensor(self, described: _Tensor) -> torch.Tensor:
        if math.prod(described.size) > MAX_ELEMENTS:
            shape = " × ".join(map(str, described.size))
            raise NotData(msg("it contains a tensor of {shape} numbers, which is too large", shape=shape))
        if 0 in described.size:
            return torch.empty(described.size, dtype=described.storage.dtype)
        steps = zip(described.size, described.stride, strict=True)
        if described.offset + sum((count - 1) * step for count, step in steps) >= described.storage.count:
            raise NotData(msg("a tensor extends beyond its data"))
        return self.storage(described.storage).as_strided(described.size, described.stride, described.offset)

    def device_tensor(self, described: _DeviceTensor) -> torch.Tensor:
        self.in_arrays += described.array.byte_count
        if self.in_arrays > MAX_PICKLE:  # unless arrays share bytes, they cannot have more than the pickle
            raise NotData(msg("its arrays contain more numbers than the file"))
        return described.array.tensor().to(described.dtype)


def type_name(saved: object) -> str:
    """Return the name of a saved value's type, for messages."""
    if isinstance(saved, _Tensor | _DeviceTensor):
        return "tensor"
    if isinstance(saved, numpy_values.Encoded):
        return "bytes"
    return saved.name if isinstance(saved, Instance | Described) else type(saved).__name__
