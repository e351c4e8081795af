"""The benchmark of learning at its smallest: what it trains, what it measures, and what it reports."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import learning
from benchmarks.learning import Job, parser, run_job
from benchmarks.learning_report import compare, report
from benchmarks.recipes import CLASSIC, PRESETS, RECIPES, VARIANTS, Recipe
from train_embedding.demo import heldout
from train_embedding.engine.config.spec import TrainingSpec


def row(
    recipe: str, seed: int = 0, concept: str = "house", losses: tuple[float, ...] = (0.1, 0.3), **values: Any
) -> dict[str, Any]:
    return {
        **asdict(Job(concept, recipe, seed)), "half": "reporting",
        "steps": 100, "samples": 400, "learned": True, "seconds": 2.0, "norm": 1.0, "start_norm": 0.8, "distance": 0.5,
        "similarity": 0.7, "obedience": 0.9, "start_loss": 0.4, "losses": list(losses),
        "curve": [[40, 0.35], [250, 0.25], [400, 0.2]], **values,
    }  # fmt: skip


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_a_spec(name: str) -> None:
    spec = TrainingSpec.from_json({**RECIPES[name].options, "embedding": "x", "dataset": "y"})
    if name in VARIANTS:
        assert (spec.early_stopping, spec.keep) == (False, "last")
        assert 124 <= spec.steps * spec.batch_size <= 500


def test_compared_item_by_item_and_seed_by_seed() -> None:
    ours = [row("Fast", 0, losses=(0.1, 0.4)), row("Fast", 1, losses=(0.2, 0.3)), row("Fast", 2, losses=(9.0, 9.0))]
    theirs = [row("x", 0, losses=(0.2, 0.5)), row("x", 1, losses=(0.2, 0.5))]
    difference, error = compare(ours, theirs)
    differences = torch.tensor([[-0.1, -0.1], [0.0, -0.2]], dtype=torch.float64)  # the third seed has no partner
    assert difference == pytest.approx(float(differences.mean()))
    of_items, of_seeds = differences.mean(0).var() / 2, differences.mean(1).var() / 2
    assert error == pytest.approx(float((of_items + of_seeds) ** 0.5))


def test_the_tables() -> None:
    rows = [row("Fast", losses=(0.1, 0.2), learned=False), row(CLASSIC, curve=[[40, 0.7], [250, 0.2], [400, 0.2]])]
    rows += [one | {"concept": "halves"} for one in (row("Fast", losses=(0.2, 0.4)), row(CLASSIC))]
    written = report([*rows, *(one | {"seed": 1} for one in rows)])
    assert f"| recipe | runs | samples | loss minus {CLASSIC}'s, mean |" in written
    # −25 % on one concept and +50 % on the other
    assert "| Fast | 4 | 400 | +12.5% | +50.0% | 1 of 2 | 0.80 → 1.00 | 0.500 | 0.700 | 0.90 | 2 |" in written
    assert "| Fast | -25.0% (1/2) | +12.5% (0/2) | +0.0% (0/2) |" in written
    assert "| recipe | at 40 | at 250 | at 400 |" in written
    assert "**house**" in written
    assert "| Fast | 2 | 400 | 2 | 0.4000 | 0.1500 | -25.0% (-1.0) | 1.00 | 0.500 | 0.700 | 0.90 |" in written


@pytest.mark.checkpoint
@pytest.mark.parametrize("name", ["auto", "words", CLASSIC])
def test_a_job(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    short = {"steps": 6, "batch_size": 4, "eval_every": 1, "early_stopping": False}
    recipe = (
        replace(PRESETS[CLASSIC], options={**PRESETS[CLASSIC].options, **short})
        if name == CLASSIC
        else Recipe(short, 2, "auto" if name == "auto" else "words")
    )
    for module, attribute, value in (
        (heldout, "STEPS", 2), (learning, "MARKS", (4, 12)), (learning, "REPEATS", 1), (learning, "IMAGES", 2),
        (learning, "words", lambda _vocabulary: ["green", "yellow", "red", "star"]),
        (learning, "similarity", lambda *_images: 0.5),
    ):  # fmt: skip
        monkeypatch.setattr(module, attribute, value)
    monkeypatch.setitem(learning.RECIPES, name, recipe)
    threads = torch.get_num_threads()
    try:
        done = run_job(Job("lime", name, 0))
    finally:
        torch.set_num_threads(threads)
    assert (done["steps"], done["samples"], done["half"]) == (6, 24, "tuning")
    assert [samples for samples, _ in done["curve"]] == [4, 12, 24]
    assert len(done["losses"]) == 12
    assert sum(done["losses"]) / 12 < done["start_loss"]
    assert 0 <= done["distance"] <= 1
    assert 0 <= done["obedience"] <= 1
    assert bool(done["ranking"]) is (name != CLASSIC)
    assert done["vectors"] in {"auto": (1, 2), "words": (2,), CLASSIC: (1,)}[name]
    results = tmp_path / "results.jsonl"
    results.write_text(json.dumps(done) + "\n", encoding="utf-8")
    options = ["--half", "tuning", "--concepts", "lime", "--seeds", "0", "--results", str(results)]
    chosen = parser().parse_args(["run", *options])
    chosen.recipes = [name]
    chosen.run(chosen)  # nothing is left to do
    assert len(results.read_text(encoding="utf-8").splitlines()) == 1
