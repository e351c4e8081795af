"""The benchmark of learning at its smallest: what it trains, what it measures, and what it makes of that."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import learning
from benchmarks.learning import Job, parser, run_job
from benchmarks.learning_report import compare, report
from benchmarks.recipes import AS_THEY_COME, SAMPLES, VARIANTS, variant
from train_embedding.demo import heldout
from train_embedding.engine.config.spec import TrainingSpec


def row(
    recipe: str, seed: int = 0, kind: str = "variant", losses: tuple[float, ...] = (0.1, 0.3), **values: Any
) -> dict[str, Any]:
    return {
        **asdict(Job("lime", kind, recipe, seed)),
        "steps": 100, "samples": 400, "seconds": 2.0, "norm": 1.0, "distance": 0.5, "start_loss": 0.4,
        "losses": list(losses), "curve": [[40, 0.35], [320, 0.25], [400, 0.2]],
    }  # fmt: skip


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_sees_as_many_samples(name: str) -> None:
    spec = TrainingSpec.from_json({**variant(name), "embedding": "x", "dataset": "y"})
    assert spec.steps * spec.batch_size * spec.gradient_accumulation_steps == SAMPLES
    assert (spec.early_stopping, spec.lr_cooldown_steps, spec.keep) == (False, 0, "last")


def test_compared_item_by_item_and_seed_by_seed() -> None:
    ours = [row("Fast", 0, losses=(0.1, 0.4)), row("Fast", 1, losses=(0.2, 0.3)), row("Fast", 2, losses=(9.0, 9.0))]
    theirs = [row("x", 0, losses=(0.2, 0.5)), row("x", 1, losses=(0.2, 0.5))]
    difference, error = compare(ours, theirs)
    differences = torch.tensor([[-0.1, -0.1], [0.0, -0.2]], dtype=torch.float64)  # the third seed has no partner
    assert difference == pytest.approx(float(differences.mean()))
    of_items, of_seeds = differences.mean(0).var() / 2, differences.mean(1).var() / 2
    assert error == pytest.approx(float((of_items + of_seeds) ** 0.5))


def test_the_tables() -> None:
    rows = [row("Fast"), row("uniform", losses=(0.2, 0.5)), *(row(name, kind="preset") for name in AS_THEY_COME)]
    rows[2]["losses"] = [0.15, 0.34]
    told = report([*rows, *(one | {"seed": 1} for one in rows)])
    assert "| Fast | 2 | 100 | 400 | 2.0 | 0.2450 | +0.0450 (+9.0) | 400 | 0.500 | 1.00 |" in told
    assert "| uniform | 2 | 0.2500 | 0.2000 | 0.3500 | +0.1500 (+3.0) | 0.500 | 1.00 |" in told


@pytest.mark.checkpoint
def test_a_job(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for module, name, value in (
        (heldout, "REPEATS", 2), (heldout, "SEEDS_PER_PROMPT", 1), (heldout, "STEPS", 2), (learning, "MARKS", (4, 12)),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(learning, "preset_values", lambda _name: {"steps": 3, "batch_size": 4, "eval_every": 1})
    threads = torch.get_num_threads()
    try:
        done = run_job(Job("lime", "preset", "Fast", 0))
    finally:
        torch.set_num_threads(threads)
    assert (done["steps"], done["samples"]) == (3, 12)
    assert [samples for samples, _ in done["curve"]] == [4, 12]
    assert done["kept_step"] in (1, 2, 3)
    assert len(done["losses"]) == 8
    assert sum(done["losses"]) / 8 < done["start_loss"]
    assert 0 < done["distance"] < 1
    results = tmp_path / "results.jsonl"
    results.write_text(json.dumps(done) + "\n", encoding="utf-8")
    options = ["--sets", "lime", "--kinds", "preset", "--recipes", "Fast", "--seeds", "0", "--results", str(results)]
    chosen = parser().parse_args(["run", *options])
    chosen.run(chosen)  # nothing is left to do
    assert len(results.read_text(encoding="utf-8").splitlines()) == 1
