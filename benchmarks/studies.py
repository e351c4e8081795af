"""Studies on a cluster: `python -m benchmarks.studies failure`, `overhead` and `paper`; the first two need Ray.

`failure` carries out the same runs one by one and on two Ray nodes, kills one node in the middle, and compares the vectors.
`overhead` measures what Ray adds to a run. `paper` computes the throughput of GPUs from counted operations.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from train_embedding.cli.study import OpenHost
from train_embedding.demo.sets import SETS
from train_embedding.services.studies import (
    Cluster,
    PlannedRun,
    Resources,
    Results,
    RunProgress,
    Study,
    ThisProcess,
    Workers,
    carry_out_study,
    write_report,
)
from train_embedding.services.studies.results import RunResult

RECIPES: dict[str, dict[str, Any]] = {"Direction": {}, "AdamW": {"optimizer": "adamw", "learning_rate": "1e-2"}}
GPUS = (1, 8, 64)
TFLOPS = 20.0
"Assumed operations of a GPU per second, in 10¹², as in README."


@dataclass(frozen=True)
class Counted:
    """Operations at true size, batch 1, in TFLOP, as docs/benchmarks.md has them."""

    step: float
    forward: float
    encoding: float

    def run(self) -> float:
        """Those of a run of Fast with 8 images: 124 steps of 2 images, 264 forward passes for the choice of the start, 48 of
        evaluations, and 2 images of 20 sampling steps with and without the prompt."""
        return 248 * self.step + (264 + 48 + 2 * 20 * 2) * self.forward + 8 * self.encoding


COUNTED = {"SD1 512²": Counted(1.661, 0.803, 1.117), "SDXL 1024²": Counted(14.242, 6.761, 4.5)}


def demo_study(seeds: int, steps: int, images: int = 1) -> Study:
    """Return a study of the sample sets: each with two recipes and some seeds."""
    runs = [
        PlannedRun(
            embedding=name,
            dataset=str(sample.training_folder),
            init_text=sample.init_text,
            vectors=1,
            options={
                "preset": "Fast", "seed": seed, "steps": steps, "batch_size": 1, "save_every": 5, "eval_every": steps // 2,
                "early_stopping": False, "choose_start_words": False, "preview_every": 0, "preview_steps": 10,
                "preview_guidance": 3.0, "preview_prompt": sample.prompts[0].replace("{}", "[name]"),
                "template": ["[filewords]"], **options,
            },
            images=images,
            recipe=recipe,
            written=name,
        )
        for name, sample in SETS.items()
        for recipe, options in RECIPES.items()
        for seed in range(seeds)
    ]  # fmt: skip
    return Study("demo", tuple(runs))


def one_by_one(study: Study, folder: Path) -> list[RunProgress]:
    """Carry out a study in this process, with one thread, as on the cluster."""
    return _carried_out(Results(folder, study), ThisProcess(OpenHost(), threads=1))


def with_a_dead_node(study: Study, folder: Path, after: int) -> tuple[list[RunProgress], list[str]]:
    """Carry out a study on two Ray nodes of one core each, and kill one once `after` runs have finished and others are halfway.

    Returns:
        What each run has come to, and the ids of the runs that were active when the node was killed.
    """
    from ray.cluster_utils import Cluster as RayCluster

    nodes = RayCluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "num_gpus": 0, "object_store_memory": 100 * 2**20, "include_dashboard": False},
    )
    doomed = nodes.add_node(num_cpus=1, num_gpus=0, object_store_memory=100 * 2**20)
    results, active = Results(folder, study), list[str]()

    def kill(progress: list[RunProgress]) -> None:
        halfway = [each for each in progress if each.status == "running" and each.state and 0 < each.step < each.state.steps]
        finished = sum(each.status == "finished" for each in progress)
        if not active and finished >= after and len(halfway) == 2:
            active.extend(each.run.id for each in halfway)
            threading.Thread(target=nodes.remove_node, args=(doomed, False)).start()

    try:
        return _carried_out(results, Cluster(str(nodes.address), OpenHost(), Resources(workers=2)), kill), active
    finally:
        nodes.shutdown()


def failure(arguments: argparse.Namespace) -> None:
    """Compare the vectors of a study that lost a node with those of the same runs one by one."""
    study = demo_study(arguments.seeds, arguments.steps)
    began = time.monotonic()
    alone = one_by_one(study, arguments.work / "one-by-one")
    between = time.monotonic()
    cluster, active = with_a_dead_node(study, arguments.work / "cluster", arguments.after)
    ended = time.monotonic()
    write_report(Results(arguments.work / "cluster", study), cluster, {"Minutes": round((ended - between) / 60, 1)})
    pairs = list(zip(alone, cluster, strict=True))
    same = sum(
        a.result is not None and b.result is not None and a.result.vectors_sha256 == b.result.vectors_sha256 for a, b in pairs
    )
    print(json.dumps({
        "runs": len(pairs),
        "finished": sum(each.status == "finished" for each in cluster),
        "bit-identical": same,
        "active when the node was killed": active,
        "continued": [each.run.id for each in cluster if each.result and each.result.resumed],
        "seconds one by one": round(between - began, 1),
        "seconds on the cluster": round(ended - between, 1),
    }, indent=1))  # fmt: skip


def overhead(arguments: argparse.Namespace) -> None:
    """Measure runs of one step, and runs that have finished, of which nothing is left to do but to hand them out."""
    first = demo_study(1, 2, images=0).runs[0]
    options = {**first.options, "steps": 1, "save_every": 0, "eval_every": 0}
    runs = [replace(first, options={**options, "seed": seed}) for seed in range(arguments.runs + arguments.trained)]
    with tempfile.TemporaryDirectory(dir=arguments.work) as folder:
        places = Path(folder) / "one-process", Path(folder) / "two-workers"
        trained, finished = runs[: arguments.trained], runs[arguments.trained :]
        alone = _cost(trained, finished, places[0], lambda: ThisProcess(OpenHost(), threads=1), 1)
        cluster = _cost(trained, finished, places[1], lambda: Cluster("local", OpenHost(), Resources(workers=2)), 2)
    print(json.dumps({
        "runs of one step": len(trained),
        "runs that have finished": len(finished),
        "load": os.getloadavg()[0],
        "one process": alone,
        "two workers": cluster,
    }, indent=1))  # fmt: skip


def _cost(
    trained: Sequence[PlannedRun], finished: Sequence[PlannedRun], folder: Path, make: Callable[[], Workers], count: int
) -> dict[str, float]:
    """Return what a run costs `count` workers, without their start and the first run of each, which loads the checkpoint."""
    warm = [replace(run, embedding="warm") for run in trained[:count]]
    results = Results(folder, Study("overhead", (*warm, *trained, *finished)))
    for run in finished:
        RunResult("finished").save(results.run_folder(run))
    workers = make()
    while workers.free() < count:
        workers.wait(1.0)
    _hand_out(warm, results, workers, count)
    began = time.monotonic(), _processor_time()
    progress = carry_out_study(Results(folder, Study("overhead", tuple(trained))), workers)
    between = time.monotonic(), _processor_time()
    _hand_out(finished, results, workers, count)
    ended = time.monotonic()
    workers.close()
    assert all(each.status == "finished" and each.step == 1 for each in progress)
    return {
        "s per trained run": round((between[0] - began[0]) / len(trained), 3),
        "s of processors per trained run": round((between[1] - began[1]) / len(trained), 3),
        "ms per finished run": round(1000 * (ended - between[0]) / len(finished), 2),
    }


def _processor_time() -> float:
    """Return the processor time in seconds of this process and all that it has started, such as Ray's."""
    import psutil

    own = psutil.Process()
    total = 0.0
    for process in (own, *own.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def _hand_out(runs: Sequence[PlannedRun], results: Results, workers: Workers, count: int) -> None:
    """Hand out runs to `count` workers until all have ended."""
    for run in runs:
        while not workers.free():
            workers.wait(1.0)
        workers.begin(run, results.run_place(run))
    while workers.free() < count:
        workers.wait(1.0)


def paper(arguments: argparse.Namespace) -> None:
    """Print the hours of a thousand embeddings on several GPUs, from the operations of a run and its fixed costs."""
    print("| | operations of a run, PFLOP | time of a run | GPUs | 1,000 embeddings | embeddings per hour | GPUs in use |")
    for name, counted in COUNTED.items():
        run = counted.run() / arguments.tflops + arguments.fixed
        for gpus in GPUS:
            rounds = -(-1000 // gpus)
            seconds = max(rounds * run, 1000 * arguments.driver) + arguments.load
            cells = (name, f"{counted.run() / 1000:.2f}", f"{run:.0f} s", gpus, f"{seconds / 3600:.2f} h")
            print("|", *cells, f"{1000 / seconds * 3600:,.0f}", f"{1000 * run / seconds / gpus:.1%}", "|", sep=" | ")


def _carried_out(
    results: Results, workers: Workers, show: Callable[[list[RunProgress]], object] = lambda _: None
) -> list[RunProgress]:
    try:
        with results.hold():
            return carry_out_study(results, workers, show)
    finally:
        workers.close()


def parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    built = argparse.ArgumentParser(prog="python -m benchmarks.studies", description=__doc__)
    verbs = built.add_subparsers(required=True)
    killed = verbs.add_parser("failure", help="kill a node in the middle of a study")
    killed.add_argument("--seeds", type=int, default=4, help="seeds of each of the 3 sets and 2 recipes")
    killed.add_argument("--steps", type=int, default=40)
    killed.add_argument("--after", type=int, default=8, help="number of finished runs after which the node is killed")
    killed.set_defaults(run=failure)
    measured = verbs.add_parser("overhead", help="measure what Ray adds to a run")
    measured.add_argument("--runs", type=int, default=300, help="number of runs that have finished")
    measured.add_argument("--trained", type=int, default=200, help="number of runs of one step")
    measured.set_defaults(run=overhead)
    for verb in (killed, measured):
        verb.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "train-embedding-studies")
    computed = verbs.add_parser("paper", help="compute the time of a thousand embeddings")
    computed.add_argument("--tflops", type=float, default=TFLOPS, help="operations of a GPU per second, in 10¹²")
    computed.add_argument("--fixed", type=float, default=2.0, help="seconds of a run without operations")
    computed.add_argument("--driver", type=float, default=0.0126, help="seconds of the driver for a run")
    computed.add_argument("--load", type=float, default=60.0, help="seconds until the checkpoint is loaded")
    computed.set_defaults(run=paper)
    return built


if __name__ == "__main__":
    chosen = parser().parse_args()
    chosen.run(chosen)
