"""The learning benchmark as a study, for example for a cluster: `python -m benchmarks.learning_study write FOLDER`, then
`train-embedding study FOLDER/demo.yaml`, then `measure FOLDER/demo.yaml`.

The study trains with files and services, as users do; `benchmarks.learning` runs the engine's loop alone and measures more.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmarks.concepts import CONCEPTS
from benchmarks.learning import CHECKPOINTS, REPEATS, checkpoint, words
from benchmarks.recipes import PRESETS, RECIPES, Recipe
from train_embedding.demo.heldout import HeldOut
from train_embedding.demo.vocabulary import DEMO, SECOND, Vocabulary
from train_embedding.embeddings.formats import read_embedding
from train_embedding.services.studies import Given, Results, read_study

EXPRESSIBLE = [
    name for name, recipe in RECIPES.items() if recipe.start != "words" and not recipe.class_word and not recipe.optimizer
]
"Recipes that differ in options and the number of vectors alone; the captions of a concept are the same for all runs of a study."


def write(folder: Path, half: str, recipes: Sequence[str], seeds: Sequence[int]) -> list[Path]:
    """Write the images of a half of the concepts, and a study file for each checkpoint; return the files."""
    files: list[Path] = []
    for vocabulary in (DEMO, SECOND):
        concepts = [concept for concept in CONCEPTS if concept.half == half and concept.vocabulary == vocabulary]
        if not concepts:
            continue
        datasets: list[dict[str, Any]] = []
        for concept in concepts:
            place = f"{vocabulary.name}/{concept.name}"
            if not (folder / place).exists():
                concept.write(folder / place)
            datasets.append({"folder": f"{place}/train", "name": concept.name, "init_text": concept.init_text})
        study: dict[str, Any] = {
            "checkpoint": str(CHECKPOINTS[vocabulary.name].resolve()),
            "datasets": datasets,
            "recipes": [_recipe(name, RECIPES[name], vocabulary) for name in recipes],
            "seeds": list(seeds),
            "options": {"template": ["[filewords]"], "preview_every": 0},
            "images": 0,
        }
        files.append(folder / f"{vocabulary.name}.yaml")
        files[-1].write_text(yaml.safe_dump(study, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return files


def measure(file: Path) -> dict[tuple[str, str, int], float]:
    """Return the held-out loss of the finished runs of a study, by concept, recipe and seed."""
    study = read_study(file, Given())
    results = Results(file.resolve().with_name(f"{file.stem}-results"), study)
    losses: dict[tuple[str, str, int], float] = {}
    for each in results.progress():
        if each.status != "finished" or each.result is None:
            continue
        run = each.run
        held_out = HeldOut(checkpoint(file.stem), Path(run.dataset).with_name("heldout"), run.embedding, repeats=REPEATS)
        vectors = read_embedding(results.run_folder(run) / each.result.file).vectors
        losses[run.embedding, run.recipe, run.seed] = float(held_out.losses(vectors).mean())
    return losses


def table(losses: dict[tuple[str, str, int], float]) -> str:
    """Return a table of mean held-out losses: a row per concept, a column per recipe."""
    recipes = list(dict.fromkeys(recipe for _, recipe, _ in losses))
    lines = [f"| Concept | {' | '.join(recipes)} |", f"|---|{'---:|' * len(recipes)}"]
    for concept in dict.fromkeys(concept for concept, _, _ in losses):
        means: list[str] = []
        for recipe in recipes:
            found = [loss for (name, other, _), loss in losses.items() if (name, other) == (concept, recipe)]
            means.append(f"{sum(found) / len(found):.5f}" if found else "")
        lines.append(f"| {concept} | {' | '.join(means)} |")
    return "\n".join(lines)


def _recipe(name: str, recipe: Recipe, vocabulary: Vocabulary) -> dict[str, Any]:
    """The options of a recipe, with the words that the checkpoint can draw as candidates where a start is chosen."""
    chosen = recipe.start != "text"
    return {
        "name": name,
        "vectors": "auto" if recipe.start == "auto" else recipe.vectors,
        **recipe.options,
        "choose_start_words": chosen,
        "candidates": ", ".join(words(vocabulary)) if chosen else "",
    }


def parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    built = argparse.ArgumentParser(prog="python -m benchmarks.learning_study", description=__doc__)
    verbs = built.add_subparsers(required=True)
    writing = verbs.add_parser("write", help="write the study files and their images")
    writing.add_argument("folder", type=Path)
    writing.add_argument("--half", choices=["tuning", "reporting", "control"], default="reporting")
    writing.add_argument("--recipes", nargs="+", choices=EXPRESSIBLE, default=list(PRESETS))
    writing.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    writing.set_defaults(
        run=lambda chosen: print(*write(chosen.folder, chosen.half, chosen.recipes, chosen.seeds), sep="\n")  # pyright: ignore
    )
    measuring = verbs.add_parser("measure", help="print the held-out losses of the runs that have finished")
    measuring.add_argument("file", type=Path)
    measuring.set_defaults(run=lambda chosen: print(table(measure(chosen.file))))
    return built


if __name__ == "__main__":
    chosen = parser().parse_args()
    chosen.run(chosen)
