"""Datasets (folders of training images) and caption templates."""

from train_embedding.services.datasets.datasets import DatasetReport, Datasets

__all__ = ["DatasetReport", "Datasets"]
