"""Which trainings still need a dataset: it is not deleted meanwhile."""

from __future__ import annotations

from pathlib import Path

from train_embedding.errors import Conflict
from train_embedding.messages import msg
from train_embedding.services.training.queue import Queue
from train_embedding.services.training.runs import Runs


def check_dataset_unused(folder: Path, runs: Runs, queue: Queue) -> None:
    """Raise Conflict if the active run, or a training in the queue that is not over, uses a dataset.

    Args:
        folder: The dataset, with all links resolved.
        runs: Have the active run.
        queue: The queue.
    """
    run = runs.current()
    if run is not None and run.active and _is_in(run.spec.dataset, folder):
        raise Conflict(
            msg('The training of "{name}" uses this dataset.', name=run.embedding),
            msg("Stop the training first, or wait until it ends."),
        )
    for entry in queue.contents().unfinished:
        if _is_in(entry.spec.dataset, folder):
            raise Conflict(
                msg('The training of "{name}" in the queue uses this dataset.', name=entry.spec.embedding),
                msg("Remove it from the queue first, or wait until it ends."),
            )


def _is_in(dataset: str, folder: Path) -> bool:
    return bool(dataset) and Path(dataset).resolve().is_relative_to(folder)
