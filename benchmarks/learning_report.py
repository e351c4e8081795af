"""Tables and plots of the results of `benchmarks.learning`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.recipes import AS_THEY_COME, VARIANTS

Row = dict[str, Any]


def report(rows: Sequence[Row], plot: Path | None = None) -> str:
    """Return Markdown tables.

    Args:
        rows: The results.
        plot: If given, an image file for the curves; needs matplotlib.
    """
    sets = list(dict.fromkeys(row["sample_set"] for row in rows))
    parts: list[str] = []
    for sample_set in sets:
        mine = [row for row in rows if row["sample_set"] == sample_set]
        parts += [_presets(sample_set, mine), _variants(sample_set, mine)]
    if plot is not None:
        _draw(rows, sets, plot)
    return "\n".join(filter(None, parts))


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


def _presets(sample_set: str, rows: Sequence[Row]) -> str:
    named = {name: _of(rows, "preset", name) for name in AS_THEY_COME}
    classic = named["WebUI classic"]
    lines = [
        f"\n**{sample_set}**, presets as they come; start loss {_mean(rows, 'start_loss'):.4f}\n",
        "| preset | seeds | steps | samples | seconds | held-out loss | less classic's, in standard errors "
        "| samples until within one error of classic's | distance | norm |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, mine in named.items():
        if not mine or not classic:
            continue
        difference, error = compare(mine, classic)
        against = "" if name == "WebUI classic" else _told(difference, error)
        lines.append(
            f"| {name} | {len(mine)} | {_mean(mine, 'steps'):.0f} | {_mean(mine, 'samples'):.0f} | {_mean(mine, 'seconds'):.1f} "
            f"| {_loss(mine):.4f} | {against} | {_reached(mine, _loss(classic) + error)} | {_mean(mine, 'distance'):.3f} "
            f"| {_mean(mine, 'norm'):.2f} |"
        )
    return "\n".join(lines) if len(lines) > 3 else ""


def _variants(sample_set: str, rows: Sequence[Row]) -> str:
    fast = _of(rows, "variant", "Fast")
    lines = [
        f"\n**{sample_set}**, variants of *Fast* at 1,600 samples, without the stop rule\n",
        "| variant | seeds | loss at 320 samples | at 800 | at 1,600 | less Fast's, in standard errors | distance | norm |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in VARIANTS:
        mine = _of(rows, "variant", name)
        if not mine or not fast:
            continue
        difference, error = compare(mine, fast)
        against = "" if name == "Fast" else _told(difference, error)
        lines.append(
            f"| {name} | {len(mine)} | {_at(mine, 320):.4f} | {_at(mine, 800):.4f} | {_loss(mine):.4f} | {against} "
            f"| {_mean(mine, 'distance'):.3f} | {_mean(mine, 'norm'):.2f} |"
        )
    return "\n".join(lines) if len(lines) > 3 else ""


def _told(difference: float, error: float) -> str:
    return f"{difference:+.4f} ({difference / error:+.1f})" if error else f"{difference:+.4f}"


def _of(rows: Iterable[Row], kind: str, recipe: str) -> list[Row]:
    return [row for row in rows if row["kind"] == kind and row["recipe"] == recipe]


def _mean(rows: Sequence[Row], name: str) -> float:
    return sum(row[name] for row in rows) / len(rows)


def _loss(rows: Sequence[Row]) -> float:
    return sum(sum(row["losses"]) / len(row["losses"]) for row in rows) / len(rows)


def _curve(rows: Sequence[Row]) -> list[tuple[int, float]]:
    """Return the mean over the runs; a run that stopped early keeps its last value."""
    marks = sorted({samples for row in rows for samples, _ in row["curve"]})
    return [(mark, sum(_last_until(row["curve"], mark) for row in rows) / len(rows)) for mark in marks]


def _last_until(curve: Sequence[Sequence[float]], samples: int) -> float:
    return next((loss for mark, loss in reversed(curve) if mark <= samples), curve[0][1])


def _at(rows: Sequence[Row], samples: int) -> float:
    return sum(_last_until(row["curve"], samples) for row in rows) / len(rows)


def _reached(rows: Sequence[Row], loss: float) -> str:
    return next((str(samples) for samples, value in _curve(rows) if value <= loss), "never")


def _draw(rows: Sequence[Row], sets: Sequence[str], file: Path) -> None:
    """Plot held-out loss relative to the start over samples, with a panel for each set and kind."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    kinds = {"preset": AS_THEY_COME, "variant": tuple(VARIANTS)}
    figure, axes = plt.subplots(len(kinds), len(sets), figsize=(6 * len(sets), 10), squeeze=False)
    for line, (kind, names) in zip(axes, kinds.items(), strict=True):
        for axis, sample_set in zip(line, sets, strict=True):
            for number, name in enumerate(names):
                mine = [row for row in _of(rows, kind, name) if row["sample_set"] == sample_set]
                if not mine:
                    continue
                start = _mean(mine, "start_loss")
                points = [(0, 1.0), *((samples, loss / start) for samples, loss in _curve(mine))]
                dashes = ("-", "--", ":")[number // 10 % 3]
                axis.plot(*zip(*points, strict=True), dashes, label=name, linewidth=2.5 if name == "Fast" else 1.2)
            axis.set(title=f"{sample_set}: {kind}s", xlabel="samples", ylabel="held-out loss / at the start")
            axis.set_xscale("symlog", linthresh=40)
            axis.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(file, dpi=80)
