"""Training runs: start, watch, stop and resume them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from train_embedding.lazy import lazy_names

if TYPE_CHECKING:
    from train_embedding.services.training.prompts import networks_left_out
    from train_embedding.services.training.runs import CHANGEABLE, Runs, RunState
    from train_embedding.services.training.worker import follow, joined, launched

__all__ = ["CHANGEABLE", "RunState", "Runs", "follow", "joined", "launched", "networks_left_out"]

__getattr__ = lazy_names(
    {
        "CHANGEABLE": "train_embedding.services.training.runs",
        "RunState": "train_embedding.services.training.runs",
        "Runs": "train_embedding.services.training.runs",
        "follow": "train_embedding.services.training.worker",
        "joined": "train_embedding.services.training.worker",
        "launched": "train_embedding.services.training.worker",
        "networks_left_out": "train_embedding.services.training.prompts",
    }
)
