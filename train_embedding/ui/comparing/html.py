"""The grid of images as HTML. Images have addresses, so that the browser loads those that it shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from train_embedding.messages import DOT, NOTHING, Message, joined, msg, plural, verbatim
from train_embedding.translations import current_language
from train_embedding.ui import html as messages
from train_embedding.ui.templates import render

if TYPE_CHECKING:
    from markupsafe import Markup

    from train_embedding.services.comparing import ComparableStep, Comparison, Row, Used

_IMAGES = "train-embedding/images"
"Below the address of the page; `api/page_images.py` serves them."
MOST_LISTED = 4
"Largest number of steps with equal distances that are listed one by one."
_RULE = msg("A run keeps the start, every evaluated step, every step with previews or a snapshot, and the last step.")


def comparison(run_id: str, grid: Comparison | None, steps: Sequence[ComparableStep], dataset_images: int) -> Markup:
    """Return the grid of a run, or what can be compared before it is drawn.

    Args:
        run_id: The run.
        grid: Its grid; None if none was drawn.
        steps: The steps whose vectors were kept.
        dataset_images: Number of images of the dataset to show.
    """
    folder = f"{_IMAGES}/runs/{quote(run_id, safe='')}"
    return render(
        "comparison",
        run=run_id,
        update="te_compare_update",
        title=msg("Compare steps"),
        kept=_kept(steps),
        rule=_RULE if steps else NOTHING,
        beside=[f"{folder}/dataset/{number}.jpg" for number in range(dataset_images)],
        **_grid(grid, folder, [] if grid is None else [_step_facts(row, steps) for row in grid.rows]),
    )


def embeddings(grid: Comparison) -> Markup:
    """Return the grid of embeddings and runs."""
    return render(
        "comparison",
        run="",
        update="te_together_update",
        title=msg("Compare embeddings"),
        kept=NOTHING,
        rule=NOTHING,
        beside=(),
        **_grid(grid, f"{_IMAGES}/embeddings", [_embedding_facts(row) for row in grid.rows]),
    )


def used_message(used: Used) -> Markup:
    """Return the message about a step that is the embedding now; its class shows the undo button."""
    saved = msg("{name} now has the vectors of step {step}.", name=used.entry.name, step=used.step)
    if not used.step:
        saved = msg("{name} now has the vectors of the start.", name=used.entry.name)
    trash = msg("The previous file is in the trash.") if used.trash_id else NOTHING
    return render("used_step", text=saved, lines=[trash], undoable=bool(used.trash_id))


def _grid(grid: Comparison | None, folder: str, facts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return what the template shows of a grid.

    Args:
        grid: The grid; None if none was drawn.
        folder: The address of its images.
        facts: What is said about each row.
    """
    if grid is None:
        nothing: dict[str, Any] = {"active": False, "text": NOTHING, "percent": 0, "error": [], "notes": (), "prompts": ()}
        return {**nothing, "rows": [], "sheet": "", "ratio": "1"}
    rows = [{**row, "cells": _cells(grid, row["label"], keys, folder)} for row, keys in zip(facts, grid.keys, strict=True)]
    return {
        "active": grid.active,
        "text": _progress(grid),
        "percent": round(100 * grid.done / max(1, grid.total)),
        "error": [grid.error, grid.hint],
        "notes": grid.notes,
        "prompts": grid.options.prompts,
        "rows": rows,
        "sheet": _sheet_address(folder) if grid.done else "",
        "ratio": f"{grid.options.width} / {grid.options.height}",
    }


def _sheet_address(folder: str) -> str:
    language = current_language()
    return f"{folder}/grid.png" if language == "en" else f"{folder}/grid.png?language={language}"


def _cells(grid: Comparison, label: Message, keys: Sequence[str], folder: str) -> list[dict[str, object]]:
    return [
        {
            "small": f"{folder}/cells/{key}.jpg" if key in grid.drawn else "",
            "large": f"{folder}/cells/{key}.png",
            "alt": joined([label, verbatim(prompt)]),
        }
        for key, prompt in zip(keys, grid.options.prompts, strict=True)
    ]


def _embedding_facts(row: Row) -> dict[str, Any]:
    """Return what is said about a row with an embedding, or with the saved step of a run."""
    step = msg("Step {step}", step=row.step) if row.run else messages.trained_steps(row.step)
    return {
        "step": row.step,
        "label": verbatim(row.embedding),
        "loss": joined([step, verbatim(row.run)], DOT) if row.run else step,
        "in_use": False,
        "usable": False,
    }


def _step_facts(row: Row, steps: Sequence[ComparableStep]) -> dict[str, Any]:
    """Return what is said about a row with a step of a run."""
    facts = next((step for step in steps if step.step == row.step), None)
    label = msg("Step {step}", step=row.step) if row.step else msg("Start")
    return {
        "step": row.step,
        "label": label,
        "loss": msg("loss {loss:.4f}", loss=facts.loss) if facts is not None and facts.loss is not None else NOTHING,
        "in_use": facts is not None and facts.in_use,
        "usable": facts is not None,
    }


def _progress(grid: Comparison) -> Message:
    images = plural("{done} of {count} image", "{done} of {count} images", grid.total, done=grid.done)
    if grid.status == "stopped":
        return msg('{images}. Stopped; "{button}" generates the rest.', images=images, button=msg("Generate images"))
    return images


def _kept(steps: Sequence[ComparableStep]) -> Message:
    if not steps:
        return msg(
            "No vectors of this run were kept, so its steps cannot be compared. It ended before its first step, or its files "
            "were removed."
        )
    return msg("Kept steps: {steps}.", steps=joined(shortened([step.step for step in steps])))


def shortened(numbers: Sequence[int]) -> list[str]:
    """Return numbers as texts; of those with equal distances, if they are more than MOST_LISTED, only the first two and the last.

    For example 0, 1, 5, 10, …, 400.
    """
    texts: list[str] = []
    start = 0
    while start < len(numbers):
        end = start + 2
        while end < len(numbers) and numbers[end] - numbers[end - 1] == numbers[start + 1] - numbers[start]:
            end += 1
        if end - start > MOST_LISTED:
            texts += [str(numbers[start]), str(numbers[start + 1]), "…", str(numbers[end - 1])]
            start = end
        else:
            texts.append(str(numbers[start]))
            start += 1
    return texts
