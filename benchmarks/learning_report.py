"""Tables and plots of the results of `benchmarks.learning`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.recipes import CLASSIC, RECIPES

Row = dict[str, Any]


def report(rows: Sequence[Row], plot: Path | None = None) -> str:
    """Return Markdown tables: all recipes over all concepts, the loss at each count of samples, and each concept.

    Args:
        rows: The results.
        plot: If given, an image file for the curves; needs matplotlib.
    """
    table = _Table(rows)
    if plot is not None:
        _draw(table, plot)
    return "\n\n".join([_overview(table), _by_samples(table), *(_concept(table, concept) for concept in table.concepts)])


def compare(ours: Sequence[Row], theirs: Sequence[Row]) -> tuple[float, float]:
    """Return the mean difference of the final losses, ours − theirs, over common seeds, and its standard error.

    Items and seeds are both samples of larger populations, so their variances are added.
    """
    other = {row["seed"]: torch.tensor(row["losses"], dtype=torch.float64) for row in theirs}
    pairs = [torch.tensor(row["losses"], dtype=torch.float64) - other[row["seed"]] for row in ours if row["seed"] in other]
    differences = torch.stack(pairs)  # [seeds, items]
    squared = differences.mean(0).var() / differences.shape[1]
    if len(pairs) > 1:
        squared = squared + differences.mean(1).var() / len(pairs)
    return float(differences.mean()), float(squared**0.5)


class _Table:
    """The results by concept and recipe."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.concepts = list(dict.fromkeys(row["concept"] for row in rows))
        found = {row["recipe"] for row in rows}
        self.recipes = [name for name in RECIPES if name in found]
        self._rows = rows

    def of(self, concept: str, recipe: str) -> list[Row]:
        return [row for row in self._rows if row["concept"] == concept and row["recipe"] == recipe]

    def shared(self, recipe: str) -> list[str]:
        """Return the concepts with results of a recipe and of WebUI classic with a common seed."""
        return [
            concept
            for concept in self.concepts
            if {row["seed"] for row in self.of(concept, recipe)} & {row["seed"] for row in self.of(concept, CLASSIC)}
        ]


def _overview(table: _Table) -> str:
    lines = [
        f"| recipe | runs | samples | loss minus {CLASSIC}'s, mean | worst concept | within one s.e. or lower "
        "| norm, start → end | distance | similarity | obedience | no learning found |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for recipe in table.recipes:
        concepts = table.shared(recipe)
        if not concepts:
            continue
        rows = [row for concept in concepts for row in table.of(concept, recipe)]
        relative, within = [], 0
        for concept in concepts:
            classic = table.of(concept, CLASSIC)
            difference, error = compare(table.of(concept, recipe), classic)
            relative.append(difference / _loss(classic))
            within += difference <= error
        lines.append(
            f"| {recipe} | {len(rows)} | {_mean(rows, 'samples'):.0f} | {sum(relative) / len(relative):+.1%} "
            f"| {max(relative):+.1%} | {within} of {len(concepts)} | {_mean(rows, 'start_norm'):.2f} → {_mean(rows, 'norm'):.2f} "
            f"| {_mean(rows, 'distance', '.3f')} | {_mean(rows, 'similarity', '.3f')} | {_mean(rows, 'obedience', '.2f')} "
            f"| {sum(row['learned'] is False for row in rows)} |"
        )
    return "\n".join(lines)


def _by_samples(table: _Table) -> str:
    """Return the loss at each count of samples minus classic's at the same count; a run that has ended keeps its last loss."""
    marks = sorted({mark for row in table._rows for mark, _ in row["curve"] if row["recipe"] == CLASSIC})
    lines = [
        "| recipe | " + " | ".join(f"at {mark:,}" for mark in marks) + " |",
        "|---" * (len(marks) + 1) + "|",
    ]
    for recipe in table.recipes:
        concepts = table.shared(recipe)
        if not concepts or recipe == CLASSIC:
            continue
        cells: list[str] = []
        for mark in marks:
            relative = [_at(table.of(concept, recipe), mark) / _at(table.of(concept, CLASSIC), mark) - 1 for concept in concepts]
            cells.append(f"{sum(relative) / len(relative):+.1%} ({sum(each < 0 for each in relative)}/{len(relative)})")
        lines.append(f"| {recipe} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _concept(table: _Table, concept: str) -> str:
    classic = table.of(concept, CLASSIC)
    lines = [
        f"**{concept}**\n",
        "| recipe | seeds | samples | seconds | loss at the start | loss | minus classic's (s.e.) | norm | distance | similarity "
        "| obedience |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for recipe in table.recipes:
        rows = table.of(concept, recipe)
        if not rows:
            continue
        against = ""
        if recipe != CLASSIC and concept in table.shared(recipe):
            difference, error = compare(rows, classic)
            against = f"{difference / _loss(classic):+.1%} ({difference / error:+.1f})"
        lines.append(
            f"| {recipe} | {len(rows)} | {_mean(rows, 'samples'):.0f} | {_mean(rows, 'seconds'):.0f} "
            f"| {_mean(rows, 'start_loss'):.4f} | {_loss(rows):.4f} | {against} | {_mean(rows, 'norm'):.2f} "
            f"| {_mean(rows, 'distance', '.3f')} | {_mean(rows, 'similarity', '.3f')} | {_mean(rows, 'obedience', '.2f')} |"
        )
    return "\n".join(lines)


def _mean(rows: Sequence[Row], name: str, form: str | None = None) -> Any:
    """Return the mean of a value, or with a format its text; an empty text if the rows do not have the value."""
    values = [row[name] for row in rows if name in row]
    if form is None:
        return sum(values) / len(values)
    return format(sum(values) / len(values), form) if values else ""


def _loss(rows: Sequence[Row]) -> float:
    return sum(sum(row["losses"]) / len(row["losses"]) for row in rows) / len(rows)


def _at(rows: Sequence[Row], samples: int) -> float:
    """Return the mean loss at the last mark up to a number of samples; before the first mark, that of the start."""
    return sum(
        next((loss for mark, loss in reversed(row["curve"]) if mark <= samples + 8), row["start_loss"]) for row in rows
    ) / len(rows)


def _draw(table: _Table, file: Path) -> None:
    """Plot held-out loss over samples, with a panel for each concept."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    columns = 4
    lines = -(-len(table.concepts) // columns)
    figure, axes = plt.subplots(lines, columns, figsize=(4.2 * columns, 3.4 * lines), squeeze=False)
    for axis, concept in zip(axes.flat, table.concepts, strict=False):
        for recipe in table.recipes:
            rows = table.of(concept, recipe)
            if not rows:
                continue
            marks = sorted({mark for row in rows for mark, _ in row["curve"]})
            axis.plot(marks, [_at(rows, mark) for mark in marks], marker="o", markersize=3, label=recipe)
        axis.set(title=concept, xscale="log", xlabel="samples", ylabel="held-out loss")
    for axis in axes.flat[len(table.concepts) :]:
        axis.axis("off")
    axes.flat[0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(file, dpi=90)
