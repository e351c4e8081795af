"""The recipes that `benchmarks.learning` compares: presets, and variants of *Fast* with one change."""

from __future__ import annotations

from typing import Any

from train_embedding.engine.config.presets import preset_values

SAMPLES = 1600
"Samples of each variant: the at most 400 steps of batch size 4 of *Fast*."
_WHOLE = {"early_stopping": False, "lr_cooldown_steps": 0, "keep": "last"}
"Trains to the end at the full rate, so that variants are compared at the same number of samples."

VARIANTS: dict[str, dict[str, Any]] = {
    "Fast": {},
    "uniform": {"timesteps": "uniform"},
    "stratified": {"timesteps": "stratified"},
    "focus 0.5": {"timestep_focus": 0.5},
    "focus 1": {"timestep_focus": 1.0},
    "rate 1e-3": {"learning_rate": "1e-3"},
    "rate 2e-3": {"learning_rate": "2e-3"},
    "rate 1e-2": {"learning_rate": "1e-2"},
    "direction 5e-3": {"optimizer": "direction", "learning_rate": "5e-3"},
    "direction 1e-2": {"optimizer": "direction", "learning_rate": "1e-2"},
    "direction 2e-2": {"optimizer": "direction", "learning_rate": "2e-2"},
    "prodigy": {"optimizer": "prodigy", "learning_rate": "1"},
    "batch 1": {"batch_size": 1, "steps": SAMPLES},
    "batch 8": {"batch_size": 8, "steps": SAMPLES // 8},
    "no average": {"ema_decay": 0.0},
    "min-SNR 5, stratified": {"min_snr_gamma": 5.0, "timesteps": "stratified"},
    "random latents": {"latent_sampling": "random"},
    "context 0.1": {"core_loss_weight": 0.1},
}
"By name, what differs from *Fast*."
AS_THEY_COME = ("Fast", "Quality", "WebUI classic")
"Presets that run as an artist runs them, with the stop rule and the choice of the best step."


def variant(name: str) -> dict[str, Any]:
    """Return the options of a variant of *Fast* that trains on SAMPLES images. Raises KeyError for an unknown name."""
    return {**preset_values("Fast"), **_WHOLE, "steps": SAMPLES // 4, **VARIANTS[name]}
