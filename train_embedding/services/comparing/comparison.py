"""What the services return about grids: a grid at one moment, the steps that can be compared, and the step that is used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from train_embedding.messages import DOT, Message, joined, msg
from train_embedding.services.comparing.grid import Grid, GridOptions, GridStatus, Row
from train_embedding.services.library.library import Entry

EMBEDDINGS = ""
"The id of the grid that compares embeddings; that of a run's grid is the id of the run."
ACTIVE = ("drawing", "stopping")
"The statuses of a grid whose images are being drawn."


@dataclass(frozen=True)
class ComparableStep:
    """A step of a run whose vectors were kept."""

    step: int
    "0 for the start."
    loss: float | None
    "The evaluation loss; None if the step was not evaluated."
    in_use: bool
    "Whether the embedding has these vectors now."


@dataclass(frozen=True)
class Comparison:
    """A grid at one moment."""

    id: str
    "That of the run; empty for the grid of embeddings."
    status: GridStatus
    options: GridOptions
    rows: tuple[Row, ...]
    keys: tuple[tuple[str, ...], ...]
    "The name of each cell's image, by row."
    drawn: frozenset[str]
    "The keys of the images that exist."
    checkpoint: str
    notes: tuple[Message, ...]
    error: Message
    hint: Message

    @property
    def active(self) -> bool:
        """Whether images are being drawn."""
        return self.status in ACTIVE

    @property
    def total(self) -> int:
        """Number of images of the whole grid."""
        return sum(map(len, self.keys))

    @property
    def done(self) -> int:
        """Number of images that exist."""
        return sum(key in self.drawn for keys in self.keys for key in keys)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, as the API answers them: each row with the keys of its images, null where there is none yet."""
        rows = [
            {
                "step": row.step,
                "embedding": row.embedding,
                "run": row.run or self.id,
                "images": [key if key in self.drawn else None for key in keys],
            }
            for row, keys in zip(self.rows, self.keys, strict=True)
        ]
        facts = {"id": self.id, "status": self.status, "active": self.active, "done": self.done, "total": self.total}
        words = {"checkpoint": self.checkpoint, "notes": self.notes, "error": self.error, "hint": self.hint}
        return {**facts, **words, "options": self.options, "rows": rows}


@dataclass(frozen=True)
class Used:
    """The result of making a step the embedding."""

    entry: Entry
    step: int
    trash_id: str
    "The item of the trash that holds the file as it was before; empty if there was none."


def comparison_of(grid_id: str, grid: Grid, drawn: frozenset[str]) -> Comparison:
    """Return a grid with the keys of the images that exist."""
    return Comparison(
        grid_id, grid.status, grid.options, grid.rows, grid.cell_keys(), drawn, grid.checkpoint, grid.notes, grid.error, grid.hint
    )


def row_label(comparison: Comparison, row: Row) -> Message | str:
    """Return the label of a row: a step of a run, its start, or the name of an embedding, with the step and the id of a run."""
    if row.run:
        return joined([row.embedding, msg("step {step}", step=row.step), row.run], DOT)
    if comparison.id == EMBEDDINGS:
        return row.embedding
    return msg("Step {step}", step=row.step) if row.step else msg("Start")
