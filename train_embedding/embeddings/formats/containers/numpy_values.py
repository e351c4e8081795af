"""Read NumPy arrays and numbers in a pickle, without NumPy.

torch saves tensors on devices without storages (DirectML, XLA, older MPS) as NumPy arrays in the pickle. A manipulated state can
make NumPy treat any bytes as objects, so everything that is not exactly what NumPy writes raises UnsafeArguments.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch

from train_embedding.embeddings.embedding import MAX_ELEMENTS
from train_embedding.embeddings.formats.containers.pickle_rules import Described, Name, UnsafeArguments
from train_embedding.embeddings.formats.content import MAX_DIMENSIONS
from train_embedding.messages import msg

ARRAY = "numpy.ndarray"
"The class of arrays, which a pickle passes to `_reconstruct`."

_ENCODING = "latin1"
_DTYPES = {
    "f2": torch.float16,
    "f4": torch.float32,
    "f8": torch.float64,
    "b1": torch.bool,
    "i1": torch.int8,
    "i2": torch.int16,
    "i4": torch.int32,
    "i8": torch.int64,
    "u1": torch.uint8,
}
"Supported dtypes by the names of `numpy.dtype`; torch 2.1 has no unsigned type besides uint8."


@dataclass(frozen=True)
class Encoded:
    """Bytes as pickles before protocol 3 write them; decoded only when needed, since a small pickle can reuse them often."""

    text: str

    def __len__(self) -> int:
        return len(self.text)


@dataclass
class NumberType(Described):
    """A `numpy.dtype`."""

    kind: str
    "A key of _DTYPES; empty after an invalid state, so that nothing is read with it."
    complete: bool = False
    "Whether its state was set."

    @property
    def name(self) -> str:
        return "numpy.dtype"

    @property
    def size(self) -> int:
        """Bytes per number."""
        return int(self.kind[1])

    def take(self, state: object) -> object:
        """Apply the state, in which only the byte order varies for plain numbers."""
        kind, self.kind = self.kind, ""
        match state:
            case (3, str(order), None, None, None, -1, -1, 0) if kind and not self.complete:
                pass
            case _:
                raise _unsupported_dtype()
        if order == ">":
            raise UnsafeArguments(msg("it was saved on a big-endian machine"))
        if order not in ("<", "=") and (order != "|" or not kind.endswith("1")):
            raise UnsafeArguments(msg("the byte order of a NumPy array is unknown"))
        self.kind, self.complete = kind, True
        return self


@dataclass
class Array(Described):
    """A `numpy.ndarray`."""

    kind: str = ""
    size: tuple[int, ...] = ()
    columns_first: bool = False
    "Whether the first index varies fastest (Fortran order)."
    content: bytes | Encoded | None = None
    "None until the state is set."

    @property
    def name(self) -> str:
        return ARRAY

    @property
    def byte_count(self) -> int:
        return len(self.content or b"")

    def take(self, state: object) -> object:
        before, self.content = self.content, None
        match state:
            case (1, tuple(), NumberType(), bool(), bytes() | Encoded()) if before is None:
                _, size, number, columns_first, content = cast(
                    "tuple[int, tuple[Any, ...], NumberType, bool, bytes | Encoded]", state
                )
            case _:
                raise UnsafeArguments(msg("it contains an invalid NumPy array"))
        if not number.kind:
            raise _unsupported_dtype()
        if len(size) > MAX_DIMENSIONS or not all(isinstance(count, int) and 0 <= count < 2**62 for count in size):
            raise UnsafeArguments(msg("the size of a NumPy array is invalid"))
        if math.prod(size) > MAX_ELEMENTS:
            shape = " × ".join(map(str, size))
            raise UnsafeArguments(msg("it contains an array of {shape} numbers, which is too large", shape=shape))
        if len(content) != math.prod(size) * number.size:
            raise UnsafeArguments(msg("the size of a NumPy array does not match its data"))
        self.kind, self.size, self.columns_first, self.content = number.kind, size, columns_first, content
        return self

    def tensor(self) -> torch.Tensor:
        """Return a copy of the array as a tensor.

        Raises:
            UnsafeArguments: Its state was not set.
        """
        if self.content is None:
            raise UnsafeArguments(msg("a NumPy array has no data"))
        if 0 in self.size:
            return torch.empty(self.size, dtype=_DTYPES[self.kind])
        flat = torch.frombuffer(bytearray(_bytes(self.content)), dtype=_DTYPES[self.kind])
        if not self.columns_first:
            return flat.reshape(self.size)
        return flat.reshape(self.size[::-1]).permute(*reversed(range(len(self.size)))).contiguous()


def _encode(*arguments: object) -> object:
    match arguments:
        case (str(text), str(encoding)) if encoding == _ENCODING:
            return Encoded(text)
        case _:
            raise UnsafeArguments(msg("it uses an encoding other than Latin-1"))


def _number_type(*arguments: object) -> object:
    """Make a dtype from its name, `align` and `copy`; `copy` must be set, so that a state changes only this dtype."""
    match arguments:
        case (str(kind), 0, 1) if kind in _DTYPES:
            return NumberType(kind)
        case _:
            raise _unsupported_dtype()


def _array(*arguments: object) -> object:
    """Make an empty array, whose state follows."""
    match arguments:
        case (Name(text), (0,), bytes() | Encoded() as kind) if text == ARRAY and kind in (b"b", Encoded("b")):
            return Array()
        case _:
            raise UnsafeArguments(msg("it contains an invalid NumPy array"))


def _number(*arguments: object) -> object:
    match arguments:
        case (NumberType() as number, bytes() | Encoded() as content) if number.kind and len(content) == number.size:
            return torch.frombuffer(bytearray(_bytes(content)), dtype=_DTYPES[number.kind]).item()
        case _:
            raise UnsafeArguments(msg("it contains an invalid NumPy number"))


def _bytes(content: bytes | Encoded) -> bytes:
    try:
        return content if isinstance(content, bytes) else content.text.encode(_ENCODING)
    except UnicodeEncodeError as error:
        raise UnsafeArguments(msg("it contains text instead of bytes")) from error


def _unsupported_dtype() -> UnsafeArguments:
    return UnsafeArguments(msg("it contains NumPy numbers of an unsupported type"))


FUNCTIONS: dict[str, Callable[..., object]] = {
    "_codecs.encode": _encode,
    "numpy.dtype": _number_type,
    "numpy.core.multiarray._reconstruct": _array,
    "numpy._core.multiarray._reconstruct": _array,
    "numpy.core.multiarray.scalar": _number,
    "numpy._core.multiarray.scalar": _number,
}
"Replacements for functions by name; they raise UnsafeArguments for arguments that NumPy does not write. NumPy 2 has `_core`."
