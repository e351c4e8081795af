"""What is imported or made when it is first used."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Generic, TypeVar

Value = TypeVar("Value")


def lazy_names(modules: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a `__getattr__` for a module (PEP 562), which imports a name from its module when it is first used.

    Args:
        modules: The module of each name. For other names, the returned function raises AttributeError.
    """

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(name)
        return getattr(import_module(modules[name]), name)

    return get


class made_once(Generic[Value]):
    """An attribute that a method makes when it is first read. Several threads get the same value.

    `functools.cached_property` may make it twice from Python 3.12 on.
    """

    def __init__(self, make: Callable[[Any], Value]) -> None:
        self._make = make
        self._lock = threading.RLock()

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: Any, owner: type | None = None) -> Value:
        """Return the value; called until it is in the instance's dictionary, which comes first from then on."""
        with self._lock:
            values: dict[str, Value] = instance.__dict__
            if self._name not in values:
                values[self._name] = self._make(instance)
            return values[self._name]
