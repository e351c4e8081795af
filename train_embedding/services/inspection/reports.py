"""The report about an embedding, as data, and the heat map of the similarity between its vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from train_embedding.messages import Message

if TYPE_CHECKING:
    from PIL import Image

DIGITS = 5
"Decimal places of figures in JSON."
HEAT_MAP_SIDE = 300
"Approximate side of a heat map in pixels."
_GAP = 8
_BLUE, _WHITE, _RED = (33, 80, 170), (250, 250, 250), (190, 30, 45)


@dataclass(frozen=True)
class NearestToken:
    """A token of the vocabulary, and the cosine of its vector with the inspected one."""

    id: int
    text: str
    cosine: float


@dataclass(frozen=True)
class VectorFigures:
    """Figures of one vector."""

    norm: float
    smallest: float
    largest: float
    nearest: tuple[NearestToken, ...] = ()
    reference_cosine: float | None = None
    "Cosine with the corresponding vector of the report's `reference`; None if that is not known."


@dataclass(frozen=True)
class EncoderReport:
    """Figures of the vectors for one text encoder."""

    key: str
    width: int
    vectors: tuple[VectorFigures, ...]
    similarity: tuple[tuple[float, ...], ...]
    "Cosine of every vector with every other, [n, n]; empty if there are too many vectors."
    vocabulary_norm: float | None = None
    "Mean norm of the token embeddings."
    vocabulary_spread: float | None = None
    "Standard deviation of these norms."
    reference_cosine: float | None = None
    "Cosine with the reference, with all vectors concatenated."


@dataclass(frozen=True)
class Neighbour:
    """Another embedding for the same text encoders."""

    name: str
    vectors: int
    similarity: float
    "1 if every vector of each embedding has the direction of a vector of the other."


@dataclass(frozen=True)
class Report:
    """What is known about the contents of an embedding."""

    name: str
    family: str
    count: int
    widths: dict[str, int]
    step: int | None
    checkpoint_name: str | None
    checkpoint_hash: str | None
    metadata: Mapping[str, str]
    "Further metadata of the file."
    reference: Message
    "A phrase that says what `reference_cosine` compares with; empty if there is nothing."
    encoders: tuple[EncoderReport, ...]
    neighbours: tuple[Neighbour, ...] = ()
    "The nearest first; empty unless requested."
    warnings: tuple[Message, ...] = ()
    "What is missing in the report, and why."

    @property
    def compared(self) -> bool:
        """Whether the vectors were compared with each other."""
        return all(encoder.similarity for encoder in self.encoders)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, with figures rounded to `DIGITS`."""
        return _rounded({**asdict(self), "metadata": dict(self.metadata)})


def heat_map(tables: Sequence[Sequence[Sequence[float]]]) -> Image.Image:
    """Draw cosines as an image: blue for -1, white for 0, red for 1.

    Args:
        tables: Values from -1 to 1, [n, n] for each square of the image. Squares are drawn side by side.
    """
    from PIL import Image

    squares = [_square(table) for table in tables]
    width = sum(square.width for square in squares) + _GAP * (len(squares) - 1)
    image = Image.new("RGB", (width, max(square.height for square in squares)), _WHITE)
    left = 0
    for square in squares:
        image.paste(square, (left, 0))
        left += square.width + _GAP
    return image


def _square(table: Sequence[Sequence[float]]) -> Image.Image:
    from PIL import Image

    side = len(table)
    small = Image.new("RGB", (side, side))
    small.putdata([_colour(value) for row in table for value in row])
    scale = max(HEAT_MAP_SIDE // side, 1)
    return small.resize((side * scale, side * scale), Image.Resampling.NEAREST)


def _colour(value: float) -> tuple[int, int, int]:
    part = min(abs(value), 1.0)
    red, green, blue = (
        round(white + (full - white) * part) for white, full in zip(_WHITE, _RED if value > 0 else _BLUE, strict=True)
    )
    return red, green, blue


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, DIGITS)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}  # pyright: ignore[reportUnknownVariableType]
    return [_rounded(item) for item in value] if isinstance(value, list | tuple) else value  # pyright: ignore[reportUnknownVariableType]
