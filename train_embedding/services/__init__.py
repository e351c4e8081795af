"""Use cases about embeddings, datasets and runs. Front ends call nothing else."""

from __future__ import annotations

from train_embedding.engine.process_group import SINGLE_PROCESS, Processes
from train_embedding.hosts.base import Host
from train_embedding.services.combining import Combining
from train_embedding.services.datasets import Datasets
from train_embedding.services.inspection import Inspection, Vocabularies
from train_embedding.services.library import Library
from train_embedding.services.settings import Settings


class Services:
    """All services of one host. An entry point creates it once per process.

    Args:
        host: The host.
        processes: The processes that train together; this is the main one.
    """

    def __init__(self, host: Host, processes: Processes = SINGLE_PROCESS) -> None:
        from train_embedding.services.training import Runs

        self.host = host
        self.library = Library(host)
        self.datasets = Datasets(host)
        self.settings = Settings(host)
        vocabularies = Vocabularies(host)
        self.inspection = Inspection(host, self.library, vocabularies)
        self.combining = Combining(host, self.library, vocabularies)
        self.runs = Runs(host, self.library, self.datasets, processes)
