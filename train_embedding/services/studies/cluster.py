"""Workers on a Ray cluster: actors that load a checkpoint once and carry out runs one after the other.

Ray places the actors on nodes and notices dead ones. Which run goes where, and what happens to the run of a dead worker, is
decided in `scheduling`: runs are given only to workers that have started, so none waits for a node that no longer exists.
"""

from __future__ import annotations

import importlib
import logging
import os
import threading
from dataclasses import dataclass
from typing import Any

from train_embedding.errors import HostFailed, InvalidInput, NotFound
from train_embedding.messages import msg
from train_embedding.services.studies.carrying_out import OpenHost, carry_out
from train_embedding.services.studies.plan import PlannedRun
from train_embedding.services.studies.results import RunResult
from train_embedding.services.studies.scheduling import Ended

_OBJECT_STORE = 100 * 2**20
"Bytes of shared memory of a cluster that is started here. Runs exchange no data but their plans and results."

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Resources:
    """What a run takes of a cluster.

    Attributes:
        gpus: GPUs, also a fraction; None for 1 if the cluster has GPUs, else 0.
        cpus: CPU cores, and threads.
        workers: Largest number of runs at a time; None for what fits the cluster when the study begins.
    """

    gpus: float | None = None
    cpus: int = 1
    workers: int | None = None


class Worker:
    """An actor. Its methods may be called at the same time.

    Args:
        open_host: Opens the host of each run; keeps the checkpoint.
        threads: Number of threads of a run.
    """

    def __init__(self, open_host: OpenHost, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        self._open_host = open_host
        self._stop = threading.Event()

    def ready(self) -> bool:
        """Return True, once the actor has started."""
        return True

    def carry_out(self, run: dict[str, Any], place: str) -> RunResult:
        """Carry out a run, given as JSON values, in a folder that all nodes can reach."""
        return carry_out(PlannedRun.from_json(run), place, self._open_host, self._stop.is_set)

    def stop(self) -> None:
        """Let the current run end after its current step."""
        self._stop.set()


class Cluster:
    """Carries out runs with Ray.

    Args:
        address: "local" starts Ray on this machine, "auto" finds a running cluster; else the address of one.
        open_host: Opens the host of each run, in the process of a worker.
        resources: What a run takes.
        ray: The module of Ray; by default it is imported.

    Raises:
        NotFound: Ray is not installed.
        HostFailed: The cluster cannot be reached.
        InvalidInput: The resources are not possible.
    """

    def __init__(self, address: str, open_host: OpenHost, resources: Resources, ray: Any = None) -> None:
        self._ray = ray or _import_ray()
        _connect(self._ray, address)
        self._open_host = open_host
        available: dict[str, float] = self._ray.cluster_resources()
        gpus = resources.gpus if resources.gpus is not None else float(available.get("GPU", 0) > 0)
        count = resources.workers or _fitting(available, gpus, resources.cpus)
        if gpus < 0 or resources.cpus < 1 or count < 1:
            self._ray.shutdown()
            raise InvalidInput(
                msg("No run fits the cluster, which has {gpus} GPUs and {cpus} CPU cores.",
                    gpus=f"{available.get('GPU', 0):g}", cpus=f"{available.get('CPU', 0):g}"),
                msg("Use smaller values of --gpus-per-run and --cpus-per-run."),
            )  # fmt: skip
        self._threads = resources.cpus
        # Spread over the nodes, so that the death of one costs as few runs as possible. Never restarted by Ray: a new actor may
        # find no place, and the run is needed elsewhere.
        self._actor = self._ray.remote(
            num_gpus=gpus, num_cpus=resources.cpus, max_restarts=0, max_concurrency=2, scheduling_strategy="SPREAD"
        )(Worker)
        self._starting: dict[Any, Any] = {}
        self._idle: list[Any] = []
        self._busy: dict[Any, tuple[Any, str]] = {}
        for _ in range(count):
            self._start()

    def free(self) -> int:
        return len(self._idle)

    def begin(self, run: PlannedRun, place: str) -> None:
        actor = self._idle.pop(0)
        self._busy[actor.carry_out.remote(run.to_json(), place)] = actor, run.id

    def wait(self, seconds: float) -> list[Ended]:
        answers: list[Any] = [*self._starting, *self._busy]
        done: list[Any] = self._ray.wait(answers, num_returns=1, timeout=seconds)[0] if answers else []
        if len(done) == 1 and len(answers) > 1:  # others may have ended as well
            done = self._ray.wait(answers, num_returns=len(answers), timeout=0)[0]
        return [ended for answer in done if (ended := self._take(answer)) is not None]

    def stop(self) -> None:
        for actor, _ in self._busy.values():
            actor.stop.remote()

    def close(self) -> None:
        for actor in [*self._starting.values(), *self._idle, *(actor for actor, _ in self._busy.values())]:
            self._ray.kill(actor)
        self._ray.shutdown()

    def _start(self) -> None:
        actor = self._actor.remote(self._open_host, self._threads)
        self._starting[actor.ready.remote()] = actor

    def _take(self, answer: Any) -> Ended | None:
        """Take the answer of an actor: it has started, its run has ended, or it has died."""
        actor, run_id = self._busy.pop(answer) if answer in self._busy else (self._starting.pop(answer), None)
        try:
            self._ray.get(answer)
        except self._ray.exceptions.RayError as error:
            logger.warning("A worker has died%s: %s", f" during the run {run_id}" if run_id else "", str(error).split("\n")[0])
            self._ray.kill(actor)
            self._start()
            return Ended(run_id, lost=True) if run_id else None
        self._idle.append(actor)
        return Ended(run_id) if run_id else None


def _import_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray reports its use over the network otherwise
    try:
        return importlib.import_module("ray")  # optional
    except ImportError as error:
        raise NotFound(
            msg("{package} is not installed.", package="Ray"),
            msg("Install it with {command}.", command="pip install 'sd-webui-train-embedding[cluster]'"),
        ) from error


def _connect(ray: Any, address: str) -> None:
    options: dict[str, Any] = {"address": address, "log_to_driver": False, "logging_level": logging.ERROR}
    if address == "local":
        options |= {"include_dashboard": False, "object_store_memory": _OBJECT_STORE}
    try:
        ray.init(**options)
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        raise HostFailed(
            msg(
                'The Ray cluster at "{address}" cannot be reached: {reason}', address=address, reason=" ".join(str(error).split())
            ),
            msg("Start it with `ray start --head`, or use --address local."),
        ) from error


def _fitting(available: dict[str, float], gpus: float, cpus: int) -> int:
    """Return how many runs fit a cluster at a time."""
    by_cpus = int(available.get("CPU", 0) // cpus) if cpus > 0 else 0
    return min(by_cpus, int(available.get("GPU", 0) / gpus + 1e-6)) if gpus > 0 else by_cpus
