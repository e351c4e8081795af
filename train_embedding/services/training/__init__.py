"""Training runs: start, watch, stop and resume them, one by one or in a queue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from train_embedding.lazy import lazy_names

if TYPE_CHECKING:
    from train_embedding.engine.process_group import is_distributed, process_group
    from train_embedding.services.training.dataset_use import check_dataset_unused
    from train_embedding.services.training.estimate import Estimate, Estimates
    from train_embedding.services.training.estimate_texts import describe_estimate
    from train_embedding.services.training.history import RunEntry
    from train_embedding.services.training.prompts import describe_ignored_networks
    from train_embedding.services.training.queue import Queue
    from train_embedding.services.training.queue_records import QueueContents, QueueEntry
    from train_embedding.services.training.runs import Runs, RunState
    from train_embedding.services.training.trainer import run_worker

__all__ = [
    "Estimate",
    "Estimates",
    "Queue",
    "QueueContents",
    "QueueEntry",
    "RunEntry",
    "RunState",
    "Runs",
    "check_dataset_unused",
    "describe_estimate",
    "describe_ignored_networks",
    "is_distributed",
    "process_group",
    "run_worker",
]

__getattr__ = lazy_names(
    {
        "Estimate": "train_embedding.services.training.estimate",
        "Estimates": "train_embedding.services.training.estimate",
        "Queue": "train_embedding.services.training.queue",
        "QueueContents": "train_embedding.services.training.queue_records",
        "QueueEntry": "train_embedding.services.training.queue_records",
        "RunEntry": "train_embedding.services.training.history",
        "RunState": "train_embedding.services.training.runs",
        "Runs": "train_embedding.services.training.runs",
        "check_dataset_unused": "train_embedding.services.training.dataset_use",
        "describe_estimate": "train_embedding.services.training.estimate_texts",
        "describe_ignored_networks": "train_embedding.services.training.prompts",
        "is_distributed": "train_embedding.engine.process_group",
        "process_group": "train_embedding.engine.process_group",
        "run_worker": "train_embedding.services.training.trainer",
    }
)
