"""Vectors in the prompt, or in the prompt and the negative prompt together: `python -m benchmarks.joint run`, then `report`.

The concepts are those of `benchmarks.concepts`. Both are trained by the loop of `benchmarks.guided`, with the same start, images,
noise and timesteps.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from benchmarks.concepts import CONCEPTS, Concept
from benchmarks.guided import AVOIDED, CONCEPT, Guided, encode_examples, initial, train_guided
from benchmarks.learning import checkpoint
from benchmarks.negative import drawn_images, paired, read
from train_embedding.demo import measure

RESULTS = Path("benchmark-results/joint.jsonl")
IMAGES = 24
ALONE = "prompt alone, 248 steps"
TRAININGS = {
    ALONE: Guided(1.0, 2, 0, 248),
    "prompt alone, 496 steps": Guided(1.0, 2, 0, 496),
    "joint, s 3, 248 steps": Guided(3.0, 2, 2, 248),
    "joint, s 5, 248 steps": Guided(5.0, 2, 2, 248),
}
"A step of joint training costs twice as much as one of the prompt alone."
_BY_NAME = {concept.name: concept for concept in CONCEPTS}
Row = dict[str, Any]


def measured(concept: Concept, options: Guided, seed: int) -> dict[str, list[float]]:
    """Train on a concept, generate images, and return each one's distance and whether it has the background of its prompt."""
    model, words = checkpoint(concept.vocabulary.name), concept.vocabulary
    with tempfile.TemporaryDirectory() as folder:
        training, _heldout = concept.write(Path(folder), CONCEPT)
        files = sorted(training.glob("*.png"))
        images = [Image.open(file).convert("RGB") for file in files]
        captions = [file.with_suffix(".txt").read_text(encoding="utf-8").strip() for file in files]
    start = [initial(model, CONCEPT, concept.init_text, options.positive)]
    if options.negative:
        start.append(initial(model, AVOIDED, words.thing, options.negative))
    trained = train_guided(model, encode_examples(model, images, captions), start, options, seed)
    prompts = concept.prompts(IMAGES)
    texts = [prompt.text.replace("{}", CONCEPT) for prompt in prompts]
    drawn = drawn_images(model, texts, range(IMAGES), AVOIDED if options.negative else "", trained)
    pairs = list(zip(drawn, prompts, strict=True))
    return {
        "distance": [round(concept.distance(image, prompt), 5) for image, prompt in pairs],
        "obedience": [float(measure.named_background(image, words) == prompt.background) for image, prompt in pairs],
    }


def run(arguments: argparse.Namespace) -> None:
    """Train and measure what is missing, and append each result to the file."""
    torch.set_num_threads(1)
    arguments.results.parent.mkdir(parents=True, exist_ok=True)
    known = {(row["concept"], row["training"], row["image_seed"]) for row in read(arguments.results)}
    for seed in arguments.seeds:
        for name in arguments.concepts:
            for training in arguments.trainings:
                if (name, training, seed) not in known:
                    values = measured(_BY_NAME[name], TRAININGS[training], seed)
                    row = {"concept": name, "training": training, "image_seed": seed, **values}
                    with arguments.results.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(row) + "\n")
                    print(f"{name}, {training}, seed {seed}: distance {sum(values['distance']) / IMAGES:.4f}", flush=True)


def report(rows: Sequence[Row]) -> str:
    """Return a Markdown table: distance and obedience of the prompt alone, and differences from them."""
    trainings = [training for training in TRAININGS if any(row["training"] == training for row in rows)]
    lines = ["| concept | " + " | ".join(trainings) + " |", "|---" * (len(trainings) + 1) + "|"]
    for concept in dict.fromkeys(row["concept"] for row in rows):
        ours = [row for row in rows if row["concept"] == concept]
        base = [row for row in ours if row["training"] == ALONE]
        cells = [concept]
        for training in trainings:
            mine = [row for row in ours if row["training"] == training]
            obedience = sum(map(sum, (row["obedience"] for row in mine))) / len(mine) / IMAGES if mine else 0
            if training == ALONE:
                cells.append(f"{sum(map(sum, (row['distance'] for row in base))) / len(base) / IMAGES:.3f} ({obedience:.2f})")
            elif mine:
                difference, error = paired(mine, base, "distance")
                cells.append(f"{difference:+.3f} ± {error:.3f} ({obedience:.2f})")
            else:
                cells.append("")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    default = [concept.name for concept in CONCEPTS if concept.half == "reporting"]
    built = argparse.ArgumentParser(prog="python -m benchmarks.joint", description=__doc__)
    verbs = built.add_subparsers(required=True)
    runs = verbs.add_parser("run", help="train and measure what is missing in the results")
    runs.add_argument("--concepts", nargs="+", choices=list(_BY_NAME), default=default, metavar="CONCEPT")
    runs.add_argument("--trainings", nargs="+", choices=list(TRAININGS), default=list(TRAININGS), metavar="TRAINING")
    runs.add_argument("--seeds", nargs="+", type=int, default=[0], help="seeds of the trainings")
    runs.set_defaults(run=run)
    reports = verbs.add_parser("report", help="print the table")
    reports.set_defaults(run=lambda arguments: print(report(read(arguments.results))))
    for verb in (runs, reports):
        verb.add_argument("--results", type=Path, default=RESULTS)
    return built


if __name__ == "__main__":
    chosen = parser().parse_args()
    chosen.run(chosen)
