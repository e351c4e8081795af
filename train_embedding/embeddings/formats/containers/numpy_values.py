"""NumPy arrays and numbers in a pickle, read without NumPy.

A tensor from a device without storages (DirectML, XLA, older MPS) is saved as a NumPy array within the pickle. A manipulated
state can make NumPy take any bytes for objects, so whatever is not exactly as NumPy writes it raises UnsafeArguments.
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

ARRAY = "numpy.ndarray"
"The class that an array is of. A pickle names it for `_reconstruct`, and has no other use for it."

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
"The kinds of numbers, as `numpy.dtype` names them; torch 2.1 has no other unsigned ones."


@dataclass(frozen=True)
class Encoded:
    """Bytes as pickles before protocol 3 write them, decoded when needed: a small pickle can name them often."""

    text: str

    def __len__(self) -> int:
        return len(self.text)


@dataclass
class NumberType(Described):
    """A `numpy.dtype`."""

    kind: str
    "Empty where its state made no sense, so that nothing else is read by it."
    complete: bool = False

    @property
    def name(self) -> str:
        return "numpy.dtype"

    @property
    def size(self) -> int:
        """Bytes of a number."""
        return int(self.kind[1])

    def take(self, state: object) -> object:
        """Of a state, all but the order of bytes is what every plain number has."""
        kind, self.kind = self.kind, ""
        match state:
            case (3, str(order), None, None, None, -1, -1, 0) if kind and not self.complete:
                pass
            case _:
                raise _unknown_kind()
        if order == ">":
            raise UnsafeArguments("it was saved on a big-endian machine")
        if order not in ("<", "=") and (order != "|" or not kind.endswith("1")):
            raise UnsafeArguments("it has numbers of numpy whose bytes are in no known order")
        self.kind, self.complete = kind, True
        return self


@dataclass
class Array(Described):
    """A `numpy.ndarray`."""

    kind: str = ""
    size: tuple[int, ...] = ()
    columns_first: bool = False
    "Whether the first index runs fastest, as in Fortran."
    content: bytes | Encoded | None = None
    "None until the array got its state."

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
                raise UnsafeArguments("it has an array of numpy that makes no sense")
        if not number.kind:
            raise _unknown_kind()
        if len(size) > MAX_DIMENSIONS or not all(isinstance(count, int) and 0 <= count < 2**62 for count in size):
            raise UnsafeArguments("the size of an array of numpy makes no sense")
        if math.prod(size) > MAX_ELEMENTS:
            raise UnsafeArguments(f"it claims an array of {' × '.join(map(str, size))} numbers, which is too many")
        if len(content) != math.prod(size) * number.size:
            raise UnsafeArguments("an array of numpy holds other amounts of numbers than it says")
        self.kind, self.size, self.columns_first, self.content = number.kind, size, columns_first, content
        return self

    def tensor(self) -> torch.Tensor:
        """Its numbers, in a memory of their own. Raises NotData."""
        if self.content is None:
            raise UnsafeArguments("an array of numpy has no numbers")
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
            raise UnsafeArguments("it names an encoding other than that of bytes")


def _number_type(*arguments: object) -> object:
    """The name, whether its fields are aligned, and whether it is a copy: so that its state changes no other one."""
    match arguments:
        case (str(kind), 0, 1) if kind in _DTYPES:
            return NumberType(kind)
        case _:
            raise _unknown_kind()


def _array(*arguments: object) -> object:
    """An empty array of bytes, which gets all that it holds as its state."""
    match arguments:
        case (Name(text), (0,), bytes() | Encoded() as kind) if text == ARRAY and kind in (b"b", Encoded("b")):
            return Array()
        case _:
            raise UnsafeArguments("it has an array of numpy that makes no sense")


def _number(*arguments: object) -> object:
    match arguments:
        case (NumberType() as number, bytes() | Encoded() as content) if number.kind and len(content) == number.size:
            return torch.frombuffer(bytearray(_bytes(content)), dtype=_DTYPES[number.kind]).item()
        case _:
            raise UnsafeArguments("it has a number of numpy that makes no sense")


def _bytes(content: bytes | Encoded) -> bytes:
    try:
        return content if isinstance(content, bytes) else content.text.encode(_ENCODING)
    except UnicodeEncodeError as error:
        raise UnsafeArguments("it has letters where there should be bytes") from error


def _unknown_kind() -> UnsafeArguments:
    return UnsafeArguments("it has numbers of numpy of a kind that no embedding has")


FUNCTIONS: dict[str, Callable[..., object]] = {
    "_codecs.encode": _encode,
    "numpy.dtype": _number_type,
    "numpy.core.multiarray._reconstruct": _array,
    "numpy._core.multiarray._reconstruct": _array,
    "numpy.core.multiarray.scalar": _number,
    "numpy._core.multiarray.scalar": _number,
}
"What stands in for each function; raises UnsafeArguments for what numpy does not write. numpy 2 has `_core`."
