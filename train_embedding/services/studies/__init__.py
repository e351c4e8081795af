"""Studies: many training runs from one file, one after the other or on a cluster, with one report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from train_embedding.lazy import lazy_names

if TYPE_CHECKING:
    from train_embedding.services.studies.cluster import Cluster, Resources
    from train_embedding.services.studies.plan import InvalidStudy, PlannedRun, Study
    from train_embedding.services.studies.reading import Given, folder_study, read_study
    from train_embedding.services.studies.report import write_report
    from train_embedding.services.studies.results import Results, RunProgress
    from train_embedding.services.studies.scheduling import ThisProcess, Workers, carry_out_study

__all__ = [
    "Cluster",
    "Given",
    "InvalidStudy",
    "PlannedRun",
    "Resources",
    "Results",
    "RunProgress",
    "Study",
    "ThisProcess",
    "Workers",
    "carry_out_study",
    "folder_study",
    "read_study",
    "write_report",
]

__getattr__ = lazy_names(
    {
        "Cluster": "train_embedding.services.studies.cluster",
        "Given": "train_embedding.services.studies.reading",
        "InvalidStudy": "train_embedding.services.studies.plan",
        "PlannedRun": "train_embedding.services.studies.plan",
        "Resources": "train_embedding.services.studies.cluster",
        "Results": "train_embedding.services.studies.results",
        "RunProgress": "train_embedding.services.studies.results",
        "Study": "train_embedding.services.studies.plan",
        "ThisProcess": "train_embedding.services.studies.scheduling",
        "Workers": "train_embedding.services.studies.scheduling",
        "carry_out_study": "train_embedding.services.studies.scheduling",
        "folder_study": "train_embedding.services.studies.reading",
        "read_study": "train_embedding.services.studies.reading",
        "write_report": "train_embedding.services.studies.report",
    }
)
