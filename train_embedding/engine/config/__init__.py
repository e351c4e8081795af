"""What a training run is asked to do: its options, their rules, the presets and the learning-rate schedule."""

from train_embedding.engine.config.old_names import with_current_names
from train_embedding.engine.config.presets import PRESETS, preset_values
from train_embedding.engine.config.rules import CHOICES
from train_embedding.engine.config.spec import TrainingSpec

__all__ = ["CHOICES", "PRESETS", "TrainingSpec", "preset_values", "with_current_names"]
