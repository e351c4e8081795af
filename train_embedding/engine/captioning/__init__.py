"""Models that describe images in words: image-to-text models of transformers, and taggers in ONNX format."""

from train_embedding.engine.captioning.caption_model import CaptionModel, CaptionOptions, check_caption_model, open_caption_model

__all__ = ["CaptionModel", "CaptionOptions", "check_caption_model", "open_caption_model"]
