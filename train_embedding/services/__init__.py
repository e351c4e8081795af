"""Use cases about embeddings, datasets and runs. Front ends call nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from train_embedding.engine.process_group import SINGLE_PROCESS, Processes
from train_embedding.lazy import made_once

if TYPE_CHECKING:
    from pathlib import Path

    from train_embedding.hosts.base import Host
    from train_embedding.services.combining import Combining
    from train_embedding.services.comparing import Comparing
    from train_embedding.services.datasets import Datasets
    from train_embedding.services.inspection import Inspection, Vocabularies
    from train_embedding.services.library import Library
    from train_embedding.services.presets import Presets
    from train_embedding.services.settings import Settings
    from train_embedding.services.training import Estimates, Queue, Runs


class Services:
    """All services of one host. An entry point creates it once per process.

    Each service is imported and made when it is first used, so that a WebUI starts without those that wait for the user.

    Args:
        host: The host.
        processes: The processes that train together; this is the main one.
    """

    def __init__(self, host: Host, processes: Processes = SINGLE_PROCESS) -> None:
        self.host = host
        self._processes = processes

    @made_once
    def library(self) -> Library:
        from train_embedding.services.library import Library

        library = Library(self.host)
        library.call_on_rename(lambda name, new_name: self.queue.follow_rename(name, new_name))
        return library

    @made_once
    def datasets(self) -> Datasets:
        from train_embedding.services.datasets import Datasets

        datasets = Datasets(self.host)
        datasets.call_before_delete(self._check_dataset_unused)
        return datasets

    @made_once
    def settings(self) -> Settings:
        from train_embedding.services.settings import Settings

        return Settings(self.host)

    @made_once
    def presets(self) -> Presets:
        from train_embedding.services.presets import Presets

        return Presets(self.host)

    @made_once
    def inspection(self) -> Inspection:
        from train_embedding.services.inspection import Inspection

        return Inspection(self.host, self.library, self._vocabularies)

    @made_once
    def combining(self) -> Combining:
        from train_embedding.services.combining import Combining

        return Combining(self.host, self.library, self._vocabularies)

    @made_once
    def runs(self) -> Runs:
        from train_embedding.services.training import Runs

        return Runs(self.host, self.library, self.datasets, self._processes)

    @made_once
    def estimates(self) -> Estimates:
        from train_embedding.services.training import Estimates

        return Estimates(self.host)

    @made_once
    def queue(self) -> Queue:
        from train_embedding.services.training import Queue

        return Queue(self.host, self.runs)

    @made_once
    def comparing(self) -> Comparing:
        from train_embedding.services.comparing import Comparing

        return Comparing(self.host, self.library, self.runs, self.queue)

    def _check_dataset_unused(self, folder: Path) -> None:
        from train_embedding.services.training import check_dataset_unused

        check_dataset_unused(folder, self.runs, self.queue)

    @made_once
    def _vocabularies(self) -> Vocabularies:
        from train_embedding.services.inspection import Vocabularies

        return Vocabularies(self.host)
