"""What a training run is asked to do: its options, their rules, the presets and the learning-rate schedule."""

from train_embedding.engine.config.old_names import with_current_names
from train_embedding.engine.config.options import Group, Option
from train_embedding.engine.config.presets import PRESETS, preset_values
from train_embedding.engine.config.rules import check_option, requirement
from train_embedding.engine.config.spec import OPTIONS, TrainingSpec

__all__ = [
    "OPTIONS",
    "PRESETS",
    "Group",
    "Option",
    "TrainingSpec",
    "check_option",
    "preset_values",
    "requirement",
    "with_current_names",
]
