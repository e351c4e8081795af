"""Rules for reading pickles as plain data: what is allowed, the objects that replace it, and the errors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from train_embedding.messages import Message, msg, verbatim

_MAX_KEY = 2**63
_MAX_KEY_LENGTH = 1024


class NotData(Exception):
    """The pickle is damaged, or contains more than plain data.

    Attributes:
        reason: What is wrong: the end of a sentence, without a period.
    """

    def __init__(self, reason: Message) -> None:
        super().__init__(reason)
        self.reason = reason


class UnsafePickle(NotData):
    """The pickle imports a global that no data needs.

    Attributes:
        name: Its dotted name.
    """

    def __init__(self, name: str) -> None:
        super().__init__(verbatim(name))
        self.name = name


class UnsafeArguments(NotData):
    """The arguments of an allowed call, or a state, are not those of plain data and could run code in another reader."""


class CutShort(NotData):
    """The pickle ends too early, or is invalid from some point on, so that no reader gets further."""


@dataclass(frozen=True)
class Name:
    """A global that a pickle names, such as "torch.FloatStorage". It is never imported."""

    text: str


@dataclass
class Instance:
    """Replacement for an object of a class: its state, without the class."""

    name: str
    state: object = None


class Described(ABC):
    """Replacement for an object that a pickle creates with a call and then completes with a state."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Dotted name of the class, for error messages."""

    @abstractmethod
    def take(self, state: object) -> object:
        """Apply the state and return the completed object.

        Raises:
            UnsafeArguments: It is not the state of plain data.
        """


@dataclass(frozen=True)
class DisallowedGlobal:
    """Placeholder for a global that is not allowed, and for every object that a pickle would create with it."""

    name: str


@dataclass(frozen=True)
class Rules:
    """What a pickle may contain besides plain values."""

    functions: Mapping[str, Callable[..., object]]
    "Replacements for functions, by dotted name."
    classes: Collection[str] = ()
    "Dotted names of classes whose objects become an Instance."
    names: Callable[[str], bool] = lambda name: False
    "Returns whether another global may be used as a value."
    persistent: Callable[[object], object] | None = None
    "Returns the replacement for an object that is stored outside the pickle (a persistent id)."
    skip_disallowed: bool = False
    "Whether globals that are not allowed are replaced with a DisallowedGlobal, instead of raising UnsafePickle."


def mapping(pairs: Iterable[Any] = ()) -> dict[object, object]:
    """Make a dictionary whose keys are texts or numbers.

    Raises:
        NotData: A key has another type, which may take very long to hash, or is too long.
    """
    made: dict[object, object] = {}
    for key, value in pairs:
        if not isinstance(key, str | bytes) and not (isinstance(key, int) and abs(key) < _MAX_KEY):
            raise NotData(msg("its pickle has a {type} as a key", type=type(key).__name__))
        if not isinstance(key, int) and len(key) > _MAX_KEY_LENGTH:  # thousands of dictionaries can share one key
            raise NotData(msg("a key in its pickle is too long"))
        made[key] = value
    return made


def pairs_of(items: list[Any]) -> Iterator[tuple[Any, Any]]:
    """Yield pairs of consecutive items."""
    return zip(items[::2], items[1::2], strict=True)
