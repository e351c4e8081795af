"""What looking inside an embedding gives, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

DIGITS = 5
"Decimal places of figures in JSON."


@dataclass(frozen=True)
class Near:
    """A token of the vocabulary, and the cosine of its vector with the one looked at."""

    id: int
    text: str
    cosine: float


@dataclass(frozen=True)
class VectorFigures:
    """One vector. to_origin: cosine with what stands in its place in the report's `origin`; None where that is not known."""

    norm: float
    smallest: float
    largest: float
    nearest: tuple[Near, ...] = ()
    to_origin: float | None = None


@dataclass(frozen=True)
class EncoderReport:
    """The vectors for one text encoder. vocabulary_norm, vocabulary_spread: mean and standard deviation of its words' norms."""

    key: str
    width: int
    vectors: tuple[VectorFigures, ...]
    similarity: tuple[tuple[float, ...], ...]
    "Cosine of every vector with every other, [n, n]; empty where there are too many of them."
    vocabulary_norm: float | None = None
    vocabulary_spread: float | None = None
    to_origin: float | None = None
    "Cosine with the origin, all vectors taken as one."


@dataclass(frozen=True)
class Neighbour:
    """Another embedding of the same kind. likeness: 1 where every vector of each has its direction in the other."""

    name: str
    vectors: int
    likeness: float


@dataclass(frozen=True)
class Report:
    """An embedding, looked into."""

    name: str
    family: str
    count: int
    widths: dict[str, int]
    step: int | None
    checkpoint_name: str | None
    checkpoint_hash: str | None
    metadata: Mapping[str, str]
    "What the file says about itself besides."
    origin: str
    "What the cosines `to_origin` compare with, in words; empty where nothing is known."
    encoders: tuple[EncoderReport, ...]
    neighbours: tuple[Neighbour, ...] = ()
    "The nearest first; looked for on request only."
    remarks: tuple[str, ...] = ()
    "What could not be said and why, in sentences."

    @property
    def compared(self) -> bool:
        """Whether the vectors were compared with one another."""
        return all(encoder.similarity for encoder in self.encoders)

    def to_json(self) -> dict[str, Any]:
        return _rounded({**asdict(self), "metadata": dict(self.metadata)})


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, DIGITS)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}  # pyright: ignore[reportUnknownVariableType]
    return [_rounded(item) for item in value] if isinstance(value, list | tuple) else value  # pyright: ignore[reportUnknownVariableType]
