"""What the command line and the API print of the services' results."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from train_embedding.services.json_values import to_json


class Colour(Enum):
    RED = "red"


@dataclass(frozen=True)
class Part:
    path: Path
    colour: Colour = Colour.RED


@dataclass(frozen=True)
class Whole:
    name: str
    parts: tuple[Part, ...] = ()
    numbers: dict[int, float] = field(default_factory=dict[int, float])
    nothing: None = None
    yes: bool = True


class Own:
    def to_json(self) -> dict[str, Any]:
        return {"parts": (Part(Path("a")),)}


def test_dataclasses_become_dictionaries_of_their_fields() -> None:
    values = to_json(Whole("cat", (Part(Path("a/b.pt")),), {1: 0.5}))
    expected = {"name": "cat", "parts": [{"path": str(Path("a/b.pt")), "colour": "red"}], "numbers": {"1": 0.5}}
    assert values == {**expected, "nothing": None, "yes": True}
    assert json.loads(json.dumps(values)) == values


def test_an_object_may_say_itself_what_it_is() -> None:
    assert to_json([Own()]) == [{"parts": [{"path": "a", "colour": "red"}]}]


def test_what_json_has_stays() -> None:
    assert to_json(("a", 1, None, True)) == ["a", 1, None, True]
    assert to_json({3}) == [3]
    assert math.isnan(to_json(math.nan))
