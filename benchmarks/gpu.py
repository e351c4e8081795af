"""What only a GPU can show, in about ten minutes: `python -m benchmarks.gpu`, and `--checkpoint FILE` for a checkpoint of yours.

Without a checkpoint, it makes random weights at the size of SD1.5 and SDXL on the device. It prints Markdown tables:

* Steps: time of a training step, images per second and memory, for batch sizes 1, 2 and 4, for a plain step as in diffusers'
  example (`benchmarks/plain_step.py`), this project's step, and the same with CUDA graphs and with `torch.compile`.
* Gradients: in half precision, compared with fp32, for checkpoints only.
* Checks: graphs give the same vectors, and images before and after training are bit-identical.

`--device cpu --tiny` runs all of it on very small models, to test the benchmark itself.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu_measures import Case, Row, check_images, gradient_errors, machine, time_compiled, time_ours, time_plain
from benchmarks.random_model import random_model
from train_embedding.engine.devices import is_out_of_memory, release_cached_memory
from train_embedding.engine.loading.checkpoint import load_checkpoint

STEP_COLUMNS = ("model", "batch", "step", "ms", "images/s", "times the plain step", "peak GiB", "counted GiB", "note")
GRADIENT_COLUMNS = ("model", "computed in", "relative error", "note")
CHECK_COLUMNS = ("model", "check", "result", "note")
PLAIN = "plain, latents given"
COMPILED = (("default", True), ("default", False), ("reduce-overhead", False))
"Modes of torch.compile, and whether our frozen layers are compiled."


def main(arguments: list[str] | None = None) -> int:
    chosen = parser().parse_args(arguments)
    if chosen.device == "cuda" and not torch.cuda.is_available():
        print("This benchmark needs a GPU that torch can use with CUDA.", file=sys.stderr)
        return 2
    report: dict[str, Any] = {"machine": machine(chosen.device), "steps": [], "gradients": [], "checks": []}
    for make in _cases(chosen):
        for table, row in _measure(make, chosen):
            print(json.dumps(row), file=sys.stderr, flush=True)
            report[table].append(row)
        _free(chosen.device)
    _add_ratios(report["steps"])
    if chosen.json:
        chosen.json.write_text(json.dumps(report, indent=1), encoding="utf-8")
    print(markdown(report))
    return 0


def markdown(report: dict[str, Any]) -> str:
    """Return the tables."""
    tables = (("steps", STEP_COLUMNS), ("gradients", GRADIENT_COLUMNS), ("checks", CHECK_COLUMNS))
    parts = ["Machine: " + ", ".join(f"{name} {value}" for name, value in report["machine"].items()) + "."]
    return "\n\n".join([*parts, *(_table(report[name], columns) for name, columns in tables)])


def _cases(chosen: argparse.Namespace) -> Iterator[Callable[[], Case]]:
    """Functions that make the models, one after the other, so that one is on the device at a time."""
    device = torch.device(chosen.device)
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    for file in chosen.checkpoint:
        yield lambda file=file: Case(file.stem, load_checkpoint(file, device=chosen.device, dtype=dtype), true_size=True)
    for family in () if chosen.checkpoint else ("SD1", "SDXL"):
        yield lambda family=family: Case(
            f"{family}, random weights", random_model(family, device, dtype, tiny=chosen.tiny), true_size=not chosen.tiny
        )


def _measure(make: Callable[[], Case], chosen: argparse.Namespace) -> Iterator[tuple[str, Row]]:
    case = make()
    named = {"model": case.name}
    for batch in chosen.batches:
        yield from _measure_steps(case, batch, chosen.steps)
    for mode, frozen in COMPILED if chosen.compile_backend and case.model.family == "SD1" else ():  # SDXL takes too long
        measure = partial(time_compiled, case, chosen.steps, mode=mode, backend=chosen.compile_backend, frozen=frozen)
        layers = "our" if frozen else "torch's"
        yield "steps", _tried({**named, "batch": 1, "step": f"torch.compile ({mode}), {layers} layers"}, measure)
    if chosen.checkpoint:
        yield from (("gradients", {**named, **row}) for row in gradient_errors(case, _tried))
    else:
        yield "gradients", {**named, "note": "needs --checkpoint: errors with random weights are not those of a trained model"}
    yield "checks", _tried({**named, "check": "images before and after training"}, partial(check_images, case))


def _measure_steps(case: Case, batch: int, steps: int) -> Iterator[tuple[str, Row]]:
    """Time all kinds of steps with a batch size."""
    vectors: dict[bool, torch.Tensor] = {}
    measures = {
        "plain, as diffusers' example": partial(time_plain, case, batch, steps, encodes=True),
        PLAIN: partial(time_plain, case, batch, steps, encodes=False),
        "ours": partial(time_ours, case, batch, steps, graphs=False, vectors=vectors),
        "ours, CUDA graphs": partial(time_ours, case, batch, steps, graphs=True, vectors=vectors),
    }
    for name, measure in measures.items():
        yield "steps", _tried({"model": case.name, "batch": batch, "step": name}, measure)
    yield "checks", _same_vectors({"model": case.name, "check": f"vectors with and without graphs, batch {batch}"}, vectors)


def _tried(row: Row, measure: Callable[[], Row]) -> Row:
    """Return a row with what was measured, or with the reason why it could not be."""
    try:
        return row | measure()
    except Exception as error:  # noqa: BLE001 - one thing that does not work on a machine must not cost the rest of the table
        reason = "out of memory" if is_out_of_memory(error) else f"{type(error).__name__}: {error}".splitlines()[0][:200]
    gc.collect()  # outside the handler, because its traceback would keep the memory in use
    return row | {"note": reason}


def _same_vectors(row: Row, vectors: dict[bool, torch.Tensor]) -> Row:
    if len(vectors) < 2:
        return row | {"result": "not checked", "note": "there are no vectors of both"}
    difference = float((vectors[True] - vectors[False]).abs().max())
    return row | {"result": "bit-identical" if torch.equal(vectors[True], vectors[False]) else f"differ by {difference:.2g}"}


def _add_ratios(rows: list[Row]) -> None:
    """Add how many times the plain step's time with latents a step takes."""
    plain = {(row["model"], row["batch"]): row["ms"] for row in rows if row["step"] == PLAIN and "ms" in row}
    for row in rows:
        if "ms" in row and (row["model"], row["batch"]) in plain:
            row["times the plain step"] = row["ms"] / plain[row["model"], row["batch"]]


def _table(rows: Iterable[Row], columns: tuple[str, ...]) -> str:
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    lines += [f"| {' | '.join(_cell(row.get(column, '')) for column in columns)} |" for row in rows]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value).replace("|", "\\|")


def _free(device: str) -> None:
    gc.collect()
    release_cached_memory(torch.device(device))


def parser() -> argparse.ArgumentParser:
    built = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=(__doc__ or "").partition(":")[0])
    built.add_argument(
        "--checkpoint", type=Path, action="append", default=[], help="a checkpoint file, more than once if you like"
    )
    built.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    built.add_argument("--tiny", action="store_true", help="very small models, to test the benchmark itself")
    built.add_argument("--batches", type=int, nargs="+", default=[1, 2, 4], help="batch sizes")
    built.add_argument("--steps", type=int, default=10, help="steps that are timed, after some that are not")
    built.add_argument("--compile-backend", default="inductor", help="of torch.compile; empty to leave it out")
    built.add_argument("--json", type=Path, help="a file for all the numbers")
    return built


if __name__ == "__main__":
    sys.exit(main())
