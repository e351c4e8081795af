"""Held-out loss over training samples, for all presets and variants: `python -m benchmarks.learning run`, then `report`.

A sample is one image in one batch. The concepts are those of `benchmarks.concepts`, on the demo checkpoint and on a second one.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from benchmarks.concepts import CONCEPTS, Concept
from benchmarks.features import similarity
from benchmarks.learning_report import report
from benchmarks.recipes import PRESETS, RECIPES, VARIANTS, Recipe
from train_embedding.demo import measure
from train_embedding.demo.heldout import HeldOut
from train_embedding.demo.vocabulary import DEMO, SECOND, Vocabulary
from train_embedding.embeddings.create import fill
from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.metadata import VECTORS
from train_embedding.engine.config.spec import ResolvedSpec, TrainingSpec, resolve
from train_embedding.engine.data.image_folder import ImageOptions, scan_folder
from train_embedding.engine.data.latents import LatentDataset, encode_dataset
from train_embedding.engine.loading.checkpoint import load_checkpoint
from train_embedding.engine.model.diffusion_model import DiffusionModel
from train_embedding.engine.runtime.precision import uses_fp16_gradients
from train_embedding.engine.training.early_stopping import Verdict
from train_embedding.engine.training.evaluation import EvaluationSet, dataset_evaluation_sets, evaluation_losses
from train_embedding.engine.training.events import Event, Stepped
from train_embedding.engine.training.loop import LoopHooks, train
from train_embedding.engine.training.state import TrainState, VectorTables, new_state
from train_embedding.hosts.standalone import DEMO_CHECKPOINT
from train_embedding.services.training.start_words import WordsToTry, choose_start
from train_embedding.services.training.trainer import CONFIRMATION_ITEMS, EVALUATION_ITEMS

RESULTS = Path("benchmark-results/learning.jsonl")
CHECKPOINTS = {DEMO.name: DEMO_CHECKPOINT, SECOND.name: Path(__file__).parent / "second_checkpoint" / "demo.safetensors"}
MARKS = (40, 80, 160, 250, 500, 1000, 2000)
"Numbers of samples after which the held-out loss is measured."
NAME = "concept"
REPEATS = 4
"Evaluations of each of the 12 held-out images: 48 items over the whole schedule."
IMAGES = 24
"Generated images of each concept."
_BY_NAME = {concept.name: concept for concept in CONCEPTS}


@dataclass(frozen=True)
class Job:
    """A training run of a recipe on a concept.

    Attributes:
        concept: Name of the concept.
        recipe: Name of the recipe.
        seed: Seed of the run.
        images: Whether to generate images as well.
    """

    concept: str
    recipe: str
    seed: int
    images: bool = True


def run_job(job: Job, threads: int = 1) -> dict[str, Any]:
    """Train and evaluate. Return what the report reads, as JSON values; seconds are those of start and training alone."""
    torch.set_num_threads(threads)
    concept, recipe = _BY_NAME[job.concept], RECIPES[job.recipe]
    model = checkpoint(concept.vocabulary.name)
    with tempfile.TemporaryDirectory() as folder:
        training, heldout = concept.write(Path(folder), trigger_of(concept, recipe))
        values = {**recipe.options, "template": ["[filewords]"], "embedding": NAME, "dataset": str(training), "seed": job.seed}
        resolved = resolve(TrainingSpec.from_json(values), model.resolution)
        held_out = HeldOut(model, heldout, NAME, repeats=REPEATS)
        began = time.perf_counter()
        dataset = make_dataset(model, resolved, recipe.vectors)
        start, ranking = make_start(model, dataset, concept, recipe, job.seed)
        dataset = dataset.with_vectors(count_of(start))
        spec = resolved.spec
        watch = Watch(spec.batch_size * spec.gradient_accumulation_steps, held_out, began)
        untrained, make_optimizer = model.token_embeddings(concept.init_text), optimizer_of(recipe, model, concept)
        state = trained(model, resolved, dataset, start, untrained, watch, make_optimizer)
        seconds = watch.stop()
        step, vectors = state.best_vectors() if spec.keep == "best" else (state.step, state.ema)
        losses = held_out.losses(vectors)
        watch.curve.append((state.step * watch.batch, round(float(losses.mean()), 6)))
        embedding = Embedding(NAME, vectors)
        references = [_opened(file) for file in sorted(heldout.glob("*.png"))]
        return {
            **asdict(job),
            "half": concept.half,
            "checkpoint": concept.vocabulary.name,
            "steps": state.step,
            "samples": state.step * watch.batch,
            "learned": state.verdict is not Verdict.NOT_LEARNING if spec.early_stopping else None,
            "kept_step": step,
            "seconds": round(seconds, 2),
            "norm": float(torch.cat(list(vectors.values()), 1).norm(dim=1).mean()),
            "vectors": count_of(start),
            "start_norm": float(torch.cat(list(start.values()), 1).norm(dim=1).mean()),
            "start_loss": float(held_out.losses(start).mean()),
            "ranking": ranking,
            "evaluations": [(each.step, round(float(each.losses.mean()), 6)) for each in state.evaluations],
            "losses": [round(loss, 6) for loss in losses.tolist()],
            "curve": watch.curve,
            **(image_measures(held_out, embedding, concept, recipe, references) if job.images else {}),
        }


def image_measures(
    held_out: HeldOut, embedding: Embedding, concept: Concept, recipe: Recipe, references: list[Image.Image]
) -> dict[str, float]:
    """Generate images, and measure the distance from the concept, the similarity to held-out images, and the obedience.

    Obedience is the fraction of images with the background of the prompt.
    """
    prompts = concept.prompts(IMAGES)
    trigger = trigger_of(concept, recipe).replace("[name]", "{}")
    drawn = held_out.draw(embedding, [prompt.text.replace("{}", trigger) for prompt in prompts])
    pairs = list(zip(drawn, prompts, strict=True))
    return {
        "distance": sum(concept.distance(image, prompt) for image, prompt in pairs) / IMAGES,
        "similarity": similarity(drawn, references),
        "obedience": sum(measure.named_background(image, concept.vocabulary) == prompt.background for image, prompt in pairs)
        / IMAGES,
    }


def trigger_of(concept: Concept, recipe: Recipe) -> str:
    """Return what stands for the concept in captions."""
    return f"[name] {concept.init_text}" if recipe.class_word else "[name]"


def make_dataset(model: DiffusionModel, resolved: ResolvedSpec, vectors: int) -> LatentDataset:
    """Encode the training images."""
    images, _skipped = scan_folder(Path(resolved.spec.dataset), ImageOptions(((resolved.width, resolved.height),)))
    encoded, _unread = encode_dataset(model, images)
    return LatentDataset(encoded, resolved, vectors, model.device)


def make_start(
    model: DiffusionModel, dataset: LatentDataset, concept: Concept, recipe: Recipe, seed: int
) -> tuple[VectorTables, list[tuple[str, float]]]:
    """Return the vectors to start from, and the ranking of the best candidates.

    The candidates are the words of the vocabulary: like the package's list of common words, they are words that the checkpoint
    can draw.
    """
    given = model.token_embeddings(concept.init_text, None)
    current = {key: fill(table, recipe.vectors) for key, table in given.items()}
    if recipe.start == "text":
        return current, []

    def evaluate(vectors: VectorTables, groups: Sequence[EvaluationSet]) -> torch.Tensor:
        return torch.cat([evaluation_losses(model, vectors, items) for items in groups])

    embedding = Embedding(NAME, current, step=0, metadata={VECTORS: "auto"} if recipe.start == "auto" else {})
    tried = WordsToTry(tuple(words(concept.vocabulary)), "" if recipe.start == "words" else concept.init_text)
    chosen, ranking = choose_start(model, dataset, embedding, tried, evaluate, seed)
    return dict(chosen.vectors), [(label, round(loss, 5)) for label, loss, _items in ranking[:5]]


def optimizer_of(
    recipe: Recipe, model: DiffusionModel, concept: Concept
) -> Callable[[list[torch.Tensor], float], torch.optim.Optimizer] | None:
    """Return what makes the optimizer of a recipe that has one of its own, given the vectors and the learning rate."""
    make = recipe.optimizer
    if make is None:
        return None
    (table,) = model.token_embeddings(" ".join(words(concept.vocabulary))).values()  # demo checkpoints have one text encoder
    return lambda vectors, rate: make(vectors, rate, table)


def count_of(vectors: VectorTables) -> int:
    """Return the number of vectors."""
    return len(next(iter(vectors.values())))


def words(vocabulary: Vocabulary) -> list[str]:
    """Return the words of a vocabulary, without those for backgrounds."""
    return [
        *vocabulary.hues, *vocabulary.shapes, *vocabulary.patterns, *vocabulary.styles, *vocabulary.relations,
        vocabulary.thing, vocabulary.patterned, vocabulary.styled, vocabulary.related,
    ]  # fmt: skip


class Watch:
    """Listener of the loop: measures the held-out loss of the EMA at the marks, and the time without that.

    Args:
        batch: Samples per step.
        held_out: The held-out images.
        began: Start of the measured time.
    """

    def __init__(self, batch: int, held_out: HeldOut, began: float) -> None:
        self.batch = batch
        self.curve: list[tuple[int, float]] = []
        self._held_out = held_out
        self._apart = 0.0
        self._began = began

    def __call__(self, event: Event) -> None:
        if not isinstance(event, Stepped):
            return
        before, now = (event.step - 1) * self.batch, event.step * self.batch
        if any(before < mark <= now for mark in MARKS):
            paused = time.perf_counter()
            self.curve.append((now, round(float(self._held_out.losses(event.state.ema).mean()), 6)))
            self._apart += time.perf_counter() - paused

    def stop(self) -> float:
        """Return the seconds since the start, without those of this listener."""
        return time.perf_counter() - self._began - self._apart


def trained(
    model: DiffusionModel,
    resolved: ResolvedSpec,
    dataset: LatentDataset,
    start: VectorTables,
    untrained: VectorTables,
    watch: Watch,
    make_optimizer: Callable[[list[torch.Tensor], float], torch.optim.Optimizer] | None = None,
) -> TrainState:
    """Run the engine's loop, as `services.training` does, without files."""
    groups = dataset_evaluation_sets(model, dataset, EVALUATION_ITEMS, resolved.spec.seed)
    state = new_state(start, resolved, model.device, scales_loss=uses_fp16_gradients(model))
    if make_optimizer is not None:
        state.optimizer = make_optimizer(state.trainable(), resolved.rate(1, resolved.steps, 0))

    def evaluate(vectors: VectorTables) -> torch.Tensor:
        return torch.cat([evaluation_losses(model, vectors, items) for items in groups])

    def confirm(vectors: VectorTables) -> torch.Tensor:
        resized = dataset.with_vectors(count_of(vectors))
        further = dataset_evaluation_sets(model, resized, CONFIRMATION_ITEMS, resolved.spec.seed + 1)
        return torch.cat([evaluation_losses(model, vectors, items) for items in further])

    train(model, state, dataset, resolved, LoopHooks(evaluate, watch, lambda: False, confirm=confirm, untrained=untrained))
    return state


@cache
def checkpoint(name: str) -> DiffusionModel:
    """Load the checkpoint of a vocabulary."""
    return load_checkpoint(CHECKPOINTS[name], device="cpu", dtype=torch.float32)


def _opened(file: Path) -> Image.Image:
    with Image.open(file, formats=("PNG",)) as image:
        return image.convert("RGB")


def jobs(arguments: argparse.Namespace) -> Iterator[Job]:
    """Return the jobs. Seeds come last, so that results of an interrupted run can be reported on."""
    for seed in arguments.seeds:
        for recipe in arguments.recipes:
            for concept in CONCEPTS:
                if concept.half == arguments.half and concept.name in arguments.concepts:
                    yield Job(concept.name, recipe, seed, not arguments.no_images)


def run(arguments: argparse.Namespace) -> None:
    """Run the trainings that are missing in the results file, and append each result."""
    arguments.results.parent.mkdir(parents=True, exist_ok=True)
    known = {key(row) for row in read(arguments.results)}
    wanted = [job for job in jobs(arguments) if key(asdict(job)) not in known]
    with ProcessPoolExecutor(arguments.jobs) as pool, arguments.results.open("a", encoding="utf-8") as file:
        work = partial(run_job, threads=arguments.threads)
        for number, done in enumerate(as_completed([pool.submit(work, job) for job in wanted]), 1):
            row = done.result()
            file.write(json.dumps(row) + "\n")
            file.flush()
            loss = sum(row["losses"]) / len(row["losses"])
            print(f"{number}/{len(wanted)}  {' '.join(map(str, key(row)))}: loss {loss:.5f}, {row['seconds']} s", flush=True)


def key(row: dict[str, Any]) -> tuple[Any, ...]:
    """Return what tells a result from others."""
    return tuple(row[name] for name in ("concept", "recipe", "seed"))


def read(results: Path) -> list[dict[str, Any]]:
    """Read the results file; an empty list if there is none."""
    return [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()] if results.exists() else []


def parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    built = argparse.ArgumentParser(prog="python -m benchmarks.learning", description=__doc__)
    verbs = built.add_subparsers(required=True)
    runs = verbs.add_parser("run", help="run the trainings that are missing in the results")
    runs.add_argument(
        "--half", choices=["tuning", "reporting", "control"], default="reporting", help="which half of the concepts"
    )
    runs.add_argument("--concepts", nargs="+", choices=list(_BY_NAME), default=list(_BY_NAME), help="default: all of the half")
    runs.add_argument("--recipes", nargs="+", choices=[*PRESETS, *VARIANTS], default=list(PRESETS), help="default: the presets")
    runs.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    runs.add_argument("--no-images", action="store_true", help="measure the loss only")
    runs.add_argument("--jobs", type=int, default=1, help="number of processes; with more than one, times are not meaningful")
    runs.add_argument("--threads", type=int, default=1, help="threads of each process")
    runs.set_defaults(run=run)
    reports = verbs.add_parser("report", help="print tables; with --plot, also plot the curves")
    reports.add_argument("--half", choices=["tuning", "reporting", "control"], default="reporting")
    reports.add_argument("--plot", type=Path, help="image file for the plot")
    reports.set_defaults(
        run=lambda arguments: print(
            report([row for row in read(arguments.results) if row["half"] == arguments.half], arguments.plot)
        )
    )
    for verb in (runs, reports):
        verb.add_argument("--results", type=Path, default=RESULTS)
    return built


if __name__ == "__main__":
    chosen = parser().parse_args()
    chosen.run(chosen)
