"""Training runs: start, watch, stop and resume them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from train_embedding.lazy import lazy_names

if TYPE_CHECKING:
    from train_embedding.engine.process_group import is_distributed, process_group
    from train_embedding.services.training.history import RunEntry
    from train_embedding.services.training.prompts import describe_ignored_networks
    from train_embedding.services.training.runs import CHANGEABLE_ON_RESUME, Runs, RunState
    from train_embedding.services.training.trainer import run_worker

__all__ = [
    "CHANGEABLE_ON_RESUME",
    "RunEntry",
    "RunState",
    "Runs",
    "describe_ignored_networks",
    "is_distributed",
    "process_group",
    "run_worker",
]

__getattr__ = lazy_names(
    {
        "CHANGEABLE_ON_RESUME": "train_embedding.services.training.runs",
        "RunEntry": "train_embedding.services.training.history",
        "RunState": "train_embedding.services.training.runs",
        "Runs": "train_embedding.services.training.runs",
        "describe_ignored_networks": "train_embedding.services.training.prompts",
        "is_distributed": "train_embedding.engine.process_group",
        "process_group": "train_embedding.engine.process_group",
        "run_worker": "train_embedding.services.training.trainer",
    }
)
