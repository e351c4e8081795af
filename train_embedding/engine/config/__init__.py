"""The configuration of a training run: options, their rules, presets and the learning rate schedule."""

from train_embedding.engine.config.old_names import with_added, with_current_names
from train_embedding.engine.config.options import GROUP_LABELS, Group, Option
from train_embedding.engine.config.presets import PRESETS, preset_values
from train_embedding.engine.config.rules import check_option, requirement
from train_embedding.engine.config.spec import CHANGEABLE_ON_RESUME, OPTIONS, TrainingSpec, choice_label, label_of

__all__ = [
    "CHANGEABLE_ON_RESUME",
    "GROUP_LABELS",
    "OPTIONS",
    "PRESETS",
    "Group",
    "Option",
    "TrainingSpec",
    "check_option",
    "choice_label",
    "label_of",
    "preset_values",
    "requirement",
    "with_added",
    "with_current_names",
]
