"""What a person can do with embeddings, datasets and runs; the only thing that front ends call."""

from __future__ import annotations

from train_embedding.engine.process_group import SINGLE_PROCESS, Processes
from train_embedding.hosts.base import Host
from train_embedding.services.combining import Combining
from train_embedding.services.datasets import Datasets
from train_embedding.services.inspection import Inspection, Vocabularies
from train_embedding.services.library import Library
from train_embedding.services.settings import Settings


class Services:
    """Everything, over one host. An entry point builds it once per process.

    processes: those that train together, of which this is the main one.
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
