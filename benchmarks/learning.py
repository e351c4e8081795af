"""Held-out loss over training samples, for all presets and variants: `python -m benchmarks.learning run`, then `report`.

A sample is an image in a batch. Images are the demo's sample sets; the checkpoint is the demo checkpoint.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from benchmarks.learning_report import report
from benchmarks.recipes import AS_THEY_COME, VARIANTS, variant
from train_embedding.demo.heldout import HeldOut
from train_embedding.demo.sets import SETS
from train_embedding.embeddings.embedding import Embedding
from train_embedding.engine.config.presets import preset_values
from train_embedding.engine.config.spec import ResolvedSpec, TrainingSpec, resolve
from train_embedding.engine.data.image_folder import ImageOptions, scan_folder
from train_embedding.engine.data.latents import LatentDataset, encode_dataset
from train_embedding.engine.loading.checkpoint import load_checkpoint
from train_embedding.engine.model.diffusion_model import DiffusionModel
from train_embedding.engine.runtime.precision import uses_fp16_gradients
from train_embedding.engine.training.core_loss import CoreLoss
from train_embedding.engine.training.evaluation import dataset_evaluation_sets, evaluation_losses
from train_embedding.engine.training.events import Event, Stepped
from train_embedding.engine.training.loop import LoopHooks, train
from train_embedding.engine.training.state import TrainState, VectorTables, new_state
from train_embedding.hosts.standalone import DEMO_CHECKPOINT
from train_embedding.services.training.trainer import EVALUATION_ITEMS

RESULTS = Path("benchmark-results/learning.jsonl")
MARKS = (40, 80, 160, 240, 320, 480, 640, 800, 1200, 1600, 2000, 2800, 4000, 6400, 9600)
"Numbers of samples after which the held-out loss is measured."
NAME = "concept"


@dataclass(frozen=True)
class Job:
    """A training run of the preset or variant (`kind`) that `recipe` names."""

    sample_set: str
    kind: str
    recipe: str
    seed: int
    threads: int = 1

    def spec(self) -> TrainingSpec:
        values = preset_values(self.recipe) if self.kind == "preset" else variant(self.recipe)
        values["template"] = ["[filewords]"]
        folder = str(SETS[self.sample_set].training_folder)
        return TrainingSpec.from_json({**values, "embedding": NAME, "dataset": folder, "seed": self.seed})


def run_job(job: Job) -> dict[str, Any]:
    """Trains and judges: what the report reads, as JSON values. seconds: of training and its own evaluations, nothing else."""
    torch.set_num_threads(job.threads)
    model, sample_set, spec = demo_model(), SETS[job.sample_set], job.spec()
    resolved = resolve(spec, model.resolution)
    start = model.token_embeddings(sample_set.init_text, 1)
    held_out = HeldOut(model, sample_set, NAME, 1)
    watch = Watch(spec.batch_size * spec.gradient_accumulation_steps, held_out)
    state = trained(model, resolved, start, watch)
    seconds = watch.stop()
    step, vectors = state.best_vectors() if spec.keep == "best" else (state.step, state.ema)
    losses = held_out.losses(vectors)
    return {
        **asdict(job),
        "steps": state.step,
        "samples": state.step * watch.batch,
        "verdict": state.verdict.value,
        "kept_step": step,
        "seconds": round(seconds, 2),
        "norm": float(torch.cat(list(vectors.values()), 1).norm(dim=1).mean()),
        "distance": held_out.distance(held_out.draw(Embedding(NAME, vectors))),
        "start_loss": float(held_out.losses(start).mean()),
        "losses": [round(loss, 6) for loss in losses.tolist()],
        "curve": watch.curve,
    }


class Watch:
    """Listens to the loop: takes the held-out loss of the average at the marks, and the time without that.

    batch: samples in a step.
    """

    def __init__(self, batch: int, held_out: HeldOut) -> None:
        self.batch = batch
        self.curve: list[tuple[int, float]] = []
        self._held_out = held_out
        self._apart = 0.0
        self._began = time.perf_counter()

    def __call__(self, event: Event) -> None:
        if not isinstance(event, Stepped):
            return
        before, now = (event.step - 1) * self.batch, event.step * self.batch
        if any(before < mark <= now for mark in MARKS):
            paused = time.perf_counter()
            self.curve.append((now, round(float(self._held_out.losses(event.state.ema).mean()), 6)))
            self._apart += time.perf_counter() - paused

    def stop(self) -> float:
        return time.perf_counter() - self._began - self._apart


def trained(model: DiffusionModel, resolved: ResolvedSpec, start: VectorTables, watch: Watch) -> TrainState:
    """A run of the engine's loop on a sample set, as `services.training` does it, without files."""
    spec = resolved.spec
    images, _skipped = scan_folder(Path(spec.dataset), ImageOptions(((resolved.width, resolved.height),)))
    encoded, _unread = encode_dataset(model, images)
    dataset = LatentDataset(encoded, resolved, 1, model.device)
    groups = dataset_evaluation_sets(model, dataset, EVALUATION_ITEMS, spec.seed)
    state = new_state(start, resolved, model.device, scales_loss=uses_fp16_gradients(model))
    core_loss = CoreLoss(model, start, spec.seed) if spec.core_loss_weight else None

    def evaluate(vectors: VectorTables) -> torch.Tensor:
        return torch.cat([evaluation_losses(model, vectors, items) for items in groups])

    train(model, state, dataset, resolved, LoopHooks(evaluate, watch, lambda: False, core_loss))
    return state


@cache
def demo_model() -> DiffusionModel:
    return load_checkpoint(DEMO_CHECKPOINT, device="cpu", dtype=torch.float32)


def jobs(arguments: argparse.Namespace) -> Iterator[Job]:
    """Seeds come last, so that what was interrupted can be reported on."""
    kinds = {"preset": AS_THEY_COME, "variant": tuple(VARIANTS)}
    for seed in arguments.seeds:
        for kind, names in kinds.items():
            for recipe in names:
                if kind in arguments.kinds and (not arguments.recipes or recipe in arguments.recipes):
                    for sample_set in arguments.sets:
                        yield Job(sample_set, kind, recipe, seed, arguments.threads)


def run(arguments: argparse.Namespace) -> None:
    """Run the trainings that are missing in the results file, and append each result."""
    arguments.results.parent.mkdir(parents=True, exist_ok=True)
    known = {key(row) for row in read(arguments.results)}
    wanted = [job for job in jobs(arguments) if key(asdict(job)) not in known]
    with ProcessPoolExecutor(arguments.jobs) as pool, arguments.results.open("a", encoding="utf-8") as file:
        for number, done in enumerate(as_completed([pool.submit(run_job, job) for job in wanted]), 1):
            row = done.result()
            file.write(json.dumps(row) + "\n")
            file.flush()
            print(
                f"{number}/{len(wanted)}  {' '.join(map(str, key(row)))}: {row['samples']} samples, {row['seconds']} s",
                flush=True,
            )


def key(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("sample_set", "kind", "recipe", "seed"))


def read(results: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()] if results.exists() else []


def parser() -> argparse.ArgumentParser:
    built = argparse.ArgumentParser(prog="python -m benchmarks.learning", description=__doc__)
    verbs = built.add_subparsers(required=True)
    runs = verbs.add_parser("run", help="run the trainings that are missing in the results")
    runs.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    runs.add_argument("--kinds", nargs="+", choices=["preset", "variant"], default=["preset", "variant"])
    runs.add_argument("--recipes", nargs="+", choices=[*AS_THEY_COME, *VARIANTS], default=[], help="default: all")
    runs.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    runs.add_argument("--jobs", type=int, default=1, help="number of processes; with more than one, times are not meaningful")
    runs.add_argument("--threads", type=int, default=1, help="threads of each process")
    runs.set_defaults(run=run)
    reports = verbs.add_parser("report", help="print tables; with --plot, also plot the curves")
    reports.add_argument("--plot", type=Path, help="image file for the plot")
    reports.set_defaults(run=lambda arguments: print(report(read(arguments.results), arguments.plot)))
    for verb in (runs, reports):
        verb.add_argument("--results", type=Path, default=RESULTS)
    return built


if __name__ == "__main__":
    chosen = parser().parse_args()
    chosen.run(chosen)
