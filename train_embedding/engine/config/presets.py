"""Presets: complete recipes for a training run, by name."""

from __future__ import annotations

from typing import Any

from train_embedding.errors import InvalidSpec

PRESETS: dict[str, dict[str, Any]] = {
    "Fast": {
        "steps": 400, "batch_size": 4, "learning_rate": "5e-3", "timesteps": "shifted", "latent_sampling": "deterministic",
        "average": 0.9, "evaluate_every": 12, "auto_stop": True, "cooldown": 30, "keep": "best",
    },
    "Quality": {
        "steps": 1200, "batch_size": 8, "learning_rate": "5e-3", "timesteps": "shifted", "latent_sampling": "random",
        "average": 0.9, "evaluate_every": 20, "auto_stop": True, "cooldown": 50, "keep": "best",
    },
    "WebUI classic": {
        "steps": 2000, "batch_size": 1, "learning_rate": "0.005", "timesteps": "uniform", "latent_sampling": "once",
        "average": 0.0, "evaluate_every": 100, "auto_stop": False, "cooldown": 0, "keep": "last",
        "buckets": False, "masks": "none",
    },
}  # fmt: skip


def preset_values(name: str) -> dict[str, Any]:
    """The fields a preset sets. Raises InvalidSpec for a name that is none."""
    if name not in PRESETS:
        raise InvalidSpec(f"There is no preset {name!r}.", f"Presets are {', '.join(PRESETS)}.")
    return dict(PRESETS[name])
