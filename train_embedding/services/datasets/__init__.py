"""Datasets (folders of training images) and caption templates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from train_embedding.lazy import lazy_names

if TYPE_CHECKING:
    from train_embedding.engine.captioning import CaptionOptions
    from train_embedding.services.datasets.auto_captions import CaptionJob, CaptionRequest, Existing
    from train_embedding.services.datasets.caption_templates import TEMPLATES, find_templates
    from train_embedding.services.datasets.captions import CaptionEdit, CaptionsChanged, ImageCaption, caption_use
    from train_embedding.services.datasets.checks import CheckedImage, CheckOptions, DatasetCheck, shown_size
    from train_embedding.services.datasets.contents import Added, NamedDataset
    from train_embedding.services.datasets.crop_jobs import CropJob
    from train_embedding.services.datasets.crops import CropsChanged, ImageCrop
    from train_embedding.services.datasets.datasets import DatasetReport, Datasets
    from train_embedding.services.datasets.incoming import Upload
    from train_embedding.services.datasets.masks import MasksChanged

__all__ = [
    "TEMPLATES",
    "Added",
    "CaptionEdit",
    "CaptionJob",
    "CaptionOptions",
    "CaptionRequest",
    "CaptionsChanged",
    "CheckOptions",
    "CheckedImage",
    "CropJob",
    "CropsChanged",
    "DatasetCheck",
    "DatasetReport",
    "Datasets",
    "Existing",
    "ImageCaption",
    "ImageCrop",
    "MasksChanged",
    "NamedDataset",
    "Upload",
    "caption_use",
    "find_templates",
    "shown_size",
]

__getattr__ = lazy_names(
    {
        "Added": "train_embedding.services.datasets.contents",
        "CaptionEdit": "train_embedding.services.datasets.captions",
        "CaptionJob": "train_embedding.services.datasets.auto_captions",
        "CaptionOptions": "train_embedding.engine.captioning",
        "CaptionRequest": "train_embedding.services.datasets.auto_captions",
        "CaptionsChanged": "train_embedding.services.datasets.captions",
        "CheckOptions": "train_embedding.services.datasets.checks",
        "CheckedImage": "train_embedding.services.datasets.checks",
        "CropJob": "train_embedding.services.datasets.crop_jobs",
        "CropsChanged": "train_embedding.services.datasets.crops",
        "DatasetCheck": "train_embedding.services.datasets.checks",
        "DatasetReport": "train_embedding.services.datasets.datasets",
        "Datasets": "train_embedding.services.datasets.datasets",
        "Existing": "train_embedding.services.datasets.auto_captions",
        "ImageCaption": "train_embedding.services.datasets.captions",
        "ImageCrop": "train_embedding.services.datasets.crops",
        "MasksChanged": "train_embedding.services.datasets.masks",
        "NamedDataset": "train_embedding.services.datasets.contents",
        "TEMPLATES": "train_embedding.services.datasets.caption_templates",
        "Upload": "train_embedding.services.datasets.incoming",
        "find_templates": "train_embedding.services.datasets.caption_templates",
        "caption_use": "train_embedding.services.datasets.captions",
        "shown_size": "train_embedding.services.datasets.checks",
    }
)
