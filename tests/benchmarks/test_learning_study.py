"""The learning benchmark as a study."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import learning_study
from benchmarks.concepts import CONCEPTS
from benchmarks.learning import Job, jobs, parser
from benchmarks.recipes import RECIPES
from train_embedding.engine.config import OPTIONS
from train_embedding.services.studies import Given, read_study


def test_the_study_has_the_runs_of_the_benchmark(tmp_path: Path) -> None:
    files = learning_study.write(tmp_path, "tuning", ["Fast", "WebUI classic", "completed"], [0, 1])
    runs = [run for file in files for run in read_study(file, Given()).runs]
    arguments = parser().parse_args(
        ["run", "--half", "tuning", "--recipes", "Fast", "WebUI classic", "completed", "--seeds", "0", "1"]
    )
    assert {(run.embedding, run.recipe, run.seed) for run in runs} == {
        (job.concept, job.recipe, job.seed) for job in jobs(arguments) if isinstance(job, Job)
    }
    texts = {concept.name: concept.init_text for concept in CONCEPTS}
    named = [option.name for option in OPTIONS]
    for run in runs:
        spec, recipe = run.spec(), RECIPES[run.recipe]
        assert run.init_text == texts[run.embedding]
        assert run.vectors == ("auto" if recipe.start == "auto" else recipe.vectors)
        assert spec.choose_start_words == (recipe.start != "text")
        assert {name: getattr(spec, name) for name in recipe.options if name in named and name != "choose_start_words"} == {
            name: value for name, value in recipe.options.items() if name != "choose_start_words"
        }


def test_losses_are_means_over_seeds() -> None:
    text = learning_study.table({("lime", "Fast", 0): 0.1, ("lime", "Fast", 1): 0.3, ("arch", "Quality", 0): 0.5})
    assert text.splitlines()[2:] == ["| lime | 0.20000 |  |", "| arch |  | 0.50000 |"]


def test_what_is_measured_is_what_was_trained(tmp_path: Path) -> None:
    (file, *_) = learning_study.write(tmp_path, "tuning", ["Fast"], [0])
    assert learning_study.measure(file) == {}
    with pytest.raises(SystemExit):
        learning_study.parser().parse_args(["write", "x", "--recipes", "class word"])
