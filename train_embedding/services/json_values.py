"""Services' results as JSON, for the command line and the API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import PurePath
from typing import Any, cast


def to_json(value: object) -> Any:
    """Turn a value into what JSON has: dictionaries, lists, text, numbers, booleans and None.

    A dataclass becomes a dictionary of its fields, unless it has a method `to_json` of its own, whose result is used. Paths
    become text, sets and tuples lists. NaN and infinity stay numbers.
    """
    if value is None or isinstance(value, str | int | float):
        return value
    own = getattr(value, "to_json", None)
    if own is not None:
        return to_json(own())
    if is_dataclass(value):
        return {field.name: to_json(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in cast("Mapping[object, object]", value).items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [to_json(item) for item in cast("list[object]", value)]
    if isinstance(value, PurePath):
        return str(value)
    return to_json(value.value) if isinstance(value, Enum) else value
