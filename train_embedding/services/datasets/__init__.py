"""Folders of training images, and the caption templates that go with them."""

from train_embedding.services.datasets.datasets import DatasetReport, Datasets

__all__ = ["DatasetReport", "Datasets"]
