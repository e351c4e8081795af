"""What a process does that is not the main one of those that train together: it helps, and touches no file."""

from __future__ import annotations

from train_embedding.engine.process_group import Processes, joined, launched
from train_embedding.hosts.base import Host

__all__ = ["Processes", "follow", "joined", "launched"]


def follow(host: Host, processes: Processes) -> None:
    """Computes its share of every step of the main process's run, until that process ends.

    Raises HostFailed without a checkpoint, and TrainingFailed where the main process is gone.
    """
    from train_embedding.engine.training.data_parallel import Follower

    with host.model() as model, Follower(processes, model) as follower:
        processes.serve(follower.answer)
