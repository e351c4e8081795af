"""Presets: recommended values for the options of a training run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypedDict, cast, get_args

from train_embedding.errors import InvalidSpec
from train_embedding.messages import joined, msg

if TYPE_CHECKING:
    from train_embedding.engine.config.spec import (
        KeptVectors,
        LatentSampling,
        MaskSource,
        OptimizerName,
        SchedulerName,
        TimestepSampling,
    )

PresetName = Literal["Fast", "Quality", "WebUI classic"]
PRESET_NAMES: tuple[str, ...] = get_args(PresetName)


class PresetValues(TypedDict, total=False):
    """Options that a preset can set, with the types of the fields of `TrainingSpec`."""

    steps: int
    batch_size: int
    optimizer: OptimizerName
    learning_rate: str
    lr_scheduler: SchedulerName
    timesteps: TimestepSampling
    latent_sampling: LatentSampling
    buckets: bool
    masks: MaskSource
    ema_decay: float
    eval_every: int
    early_stopping: bool
    lr_cooldown_steps: int
    keep: KeptVectors


PRESETS: dict[PresetName, PresetValues] = {
    "Fast": {
        "steps": 248, "batch_size": 2, "optimizer": "direction", "learning_rate": "0.12", "lr_scheduler": "linear",
        "timesteps": "stratified", "latent_sampling": "deterministic", "ema_decay": 0.0, "eval_every": 62,
        "early_stopping": True, "lr_cooldown_steps": 0, "keep": "best",
    },
    "Quality": {
        "steps": 250, "batch_size": 8, "optimizer": "direction", "learning_rate": "0.12", "lr_scheduler": "linear",
        "timesteps": "stratified", "latent_sampling": "random", "ema_decay": 0.0, "eval_every": 25,
        "early_stopping": True, "lr_cooldown_steps": 0, "keep": "best",
    },
    "WebUI classic": {
        "steps": 2000, "batch_size": 1, "optimizer": "adamw", "learning_rate": "0.005", "lr_scheduler": "constant",
        "timesteps": "uniform", "latent_sampling": "once", "ema_decay": 0.0, "eval_every": 100,
        "early_stopping": False, "lr_cooldown_steps": 0, "keep": "last", "buckets": False, "masks": "none",
    },
}  # fmt: skip


def preset_values(name: str) -> dict[str, Any]:
    """Return a copy of the values of a preset, by option.

    Raises:
        InvalidSpec: There is no preset of that name.
    """
    if name not in PRESET_NAMES:
        raise InvalidSpec(
            msg('There is no preset "{name}".', name=name), msg("The presets are {names}.", names=joined(PRESET_NAMES))
        )
    return {**PRESETS[cast("PresetName", name)]}
