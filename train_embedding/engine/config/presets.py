"""Presets: complete recipes for a training run, by name."""

from __future__ import annotations

from typing import Any

from train_embedding.errors import InvalidSpec

PRESETS: dict[str, dict[str, Any]] = {
    "Fast": {
        "steps": 400, "batch_size": 4, "learning_rate": "5e-3", "timesteps": "shifted", "latent_sampling": "deterministic",
        "ema_decay": 0.9, "eval_every": 12, "early_stopping": True, "lr_cooldown_steps": 30, "keep": "best",
    },
    "Quality": {
        "steps": 1200, "batch_size": 8, "learning_rate": "5e-3", "timesteps": "shifted", "latent_sampling": "random",
        "ema_decay": 0.9, "eval_every": 20, "early_stopping": True, "lr_cooldown_steps": 50, "keep": "best",
    },
    "WebUI classic": {
        "steps": 2000, "batch_size": 1, "learning_rate": "0.005", "timesteps": "uniform", "latent_sampling": "once",
        "ema_decay": 0.0, "eval_every": 100, "early_stopping": False, "lr_cooldown_steps": 0, "keep": "last",
        "buckets": False, "masks": "none",
    },
}  # fmt: skip


def preset_values(name: str) -> dict[str, Any]:
    """The fields a preset sets. Raises InvalidSpec for a name that is none."""
    if name not in PRESETS:
        raise InvalidSpec(f"There is no preset {name!r}.", f"Presets are {', '.join(PRESETS)}.")
    return dict(PRESETS[name])
