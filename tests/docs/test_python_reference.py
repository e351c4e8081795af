"""The Python API page lists names that exist."""

from __future__ import annotations

import dataclasses
import importlib
import re
from pathlib import Path

import train_embedding

PAGE = (Path(__file__).parents[2] / "docs" / "python-api.md").read_text(encoding="utf-8")
ENTRY = re.compile(r"^::: ([\w.]+)\n(?:    options:\n(?:      .*\n)*?      members: \[(.*)\])?", re.MULTILINE)


def _named(path: str) -> object:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def test_names_and_members_exist() -> None:
    missing: list[str] = []
    for path, members in ENTRY.findall(PAGE):
        named = _named(path)
        fields = [field.name for field in dataclasses.fields(named)] if dataclasses.is_dataclass(named) else []
        missing += [f"{path}.{name}" for name in members.split(", ") if name and name not in fields and not hasattr(named, name)]
    assert missing == []


def test_every_public_name_is_described() -> None:
    described = {path.rpartition(".")[2] for path, _ in ENTRY.findall(PAGE)}
    assert set(train_embedding.__all__) - described - {"PRESETS"} == set()
