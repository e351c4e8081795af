"""Lazy imports of a package's names (PEP 562)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_names(modules: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a `__getattr__` for a module, which imports a name from its module when it is first used.

    Args:
        modules: The module of each name. For other names, the returned function raises AttributeError.
    """

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(name)
        return getattr(import_module(modules[name]), name)

    return get
