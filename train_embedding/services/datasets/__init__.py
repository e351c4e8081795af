"""Datasets (folders of training images) and caption templates."""

from train_embedding.services.datasets.captions import CaptionEdit, CaptionsChanged, ImageCaption, caption_use
from train_embedding.services.datasets.checks import CheckedImage, CheckOptions, DatasetCheck, shown_size
from train_embedding.services.datasets.contents import Added, NamedDataset
from train_embedding.services.datasets.datasets import DatasetReport, Datasets
from train_embedding.services.datasets.incoming import Upload

__all__ = [
    "Added",
    "CaptionEdit",
    "CaptionsChanged",
    "CheckOptions",
    "CheckedImage",
    "DatasetCheck",
    "DatasetReport",
    "Datasets",
    "ImageCaption",
    "NamedDataset",
    "Upload",
    "caption_use",
    "shown_size",
]
