"""What a pickle may contain, what stands in for it, and how reading one can fail."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_MAX_KEY = 2**63
_LONGEST_KEY = 1024


class NotData(Exception):
    """A pickle that is damaged, or is more than data."""


class UnsafePickle(NotData):
    """A pickle that imports a global that no data needs; the message is its dotted name."""


class UnsafeArguments(NotData):
    """A call or a state with arguments that data does not have, and with which it could run code in a reader that trusts it."""


class CutShort(NotData):
    """A pickle that ends too early, or is none from some place on; no reader of saved tensors gets further."""


@dataclass(frozen=True)
class Name:
    """Something that a pickle names, such as "torch.FloatStorage". It is never looked up."""

    text: str


@dataclass
class Instance:
    """What a pickle takes for an object of that class: its state, and nothing of the class."""

    name: str
    state: object = None


class Described(ABC):
    """What a pickle made by a call, and completes by a state."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The global that made it, as a refusal names it."""

    @abstractmethod
    def take(self, state: object) -> object:
        """Takes the state, and returns what stands in its place then. Raises UnsafeArguments."""


@dataclass(frozen=True)
class DisallowedGlobal:
    """Placeholder for a global that is not allowed, and for whatever a pickle would make with it."""

    name: str


@dataclass(frozen=True)
class Rules:
    """What a pickle may contain besides plain values."""

    functions: Mapping[str, Callable[..., object]]
    "What stands in for a function of that name."
    classes: Collection[str] = ()
    "Names whose objects become an Instance."
    names: Callable[[str], bool] = lambda name: False
    "Whether another name may stand as a value."
    persistent: Callable[[object], object] | None = None
    "What stands in for an object that lies outside the pickle."
    skip_disallowed: bool = False
    "Whether a global that is not allowed is replaced with a DisallowedGlobal, instead of ending the reading."


def mapping(pairs: Iterable[Any] = ()) -> dict[object, object]:
    """A dictionary of pairs, its keys texts or numbers. Raises NotData: other keys can take forever to hash."""
    made: dict[object, object] = {}
    for key, value in pairs:
        if not isinstance(key, str | bytes) and not (isinstance(key, int) and abs(key) < _MAX_KEY):
            raise NotData(f"its pickle has a {type(key).__name__} for a key")
        if not isinstance(key, int) and len(key) > _LONGEST_KEY:  # one text can be the key of thousands of dictionaries
            raise NotData("its pickle has a key that is too long")
        made[key] = value
    return made


def pairs_of(items: list[Any]) -> Iterator[tuple[Any, Any]]:
    return zip(items[::2], items[1::2], strict=True)
