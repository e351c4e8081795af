"""The recipes that `benchmarks.learning` compares: the presets as they come, and variants of the default one for tuning."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from train_embedding.engine.config.presets import preset_values


@dataclass(frozen=True)
class Recipe:
    """How an embedding is made and trained.

    Attributes:
        options: Options of the run.
        vectors: Number of vectors.
        ranked: Whether training starts from the words with the lowest loss instead of the init text.
        class_word: Whether captions and prompts have the init text after the trigger word (AttnDreamBooth, Pang et al. 2024,
            arXiv 2406.05000).
    """

    options: dict[str, Any] = field(default_factory=dict[str, Any])
    vectors: int = 1
    ranked: bool = False
    class_word: bool = False


def _whole(**options: Any) -> dict[str, Any]:
    """Return options that train to the last step, so that all variants see the same number of samples."""
    return {
        "early_stopping": False, "lr_cooldown_steps": 0, "lr_scheduler": "linear", "ema_decay": 0.0,
        "timesteps": "stratified", "latent_sampling": "deterministic", "optimizer": "direction", "learning_rate": "0.12",
        "batch_size": 4, "steps": 62, "eval_every": 31, "keep": "last", **options,
    }  # fmt: skip


CLASSIC = "WebUI classic"
PRESETS = {
    "Fast": Recipe(preset_values("Fast"), 2),
    "Quality": Recipe(preset_values("Quality"), 2),
    CLASSIC: Recipe(preset_values("WebUI classic")),
}
"Presets, with the number of vectors and the start that an artist gets without changing anything."
_ADAM = {"optimizer": "adamw", "learning_rate": "1e-2"}
VARIANTS = {
    "direction 0.12": Recipe(_whole(), 2, ranked=True),
    "direction 0.06": Recipe(_whole(learning_rate="0.06"), 2, ranked=True),
    "direction 0.24": Recipe(_whole(learning_rate="0.24"), 2, ranked=True),
    "init text": Recipe(_whole(), 2),
    "one vector": Recipe(_whole(), 1, ranked=True),
    "four vectors": Recipe(_whole(), 4, ranked=True),
    "uniform": Recipe(_whole(timesteps="uniform"), 2, ranked=True),
    "shifted 0.5": Recipe(_whole(timesteps="shifted", timestep_focus=0.5), 2, ranked=True),
    "cosine": Recipe(_whole(lr_scheduler="cosine"), 2, ranked=True),
    "EMA 0.9": Recipe(_whole(ema_decay=0.9), 2, ranked=True),
    "batch 2": Recipe(_whole(batch_size=2, steps=124), 2, ranked=True),
    "batch 8": Recipe(_whole(batch_size=8, steps=31), 2, ranked=True),
    "AdamW 1e-2": Recipe(_whole(**_ADAM), 2, ranked=True),
    "AdamW 5e-2": Recipe(_whole(optimizer="adamw", learning_rate="5e-2"), 2, ranked=True),
    "Prodigy": Recipe(_whole(optimizer="prodigy", learning_rate="1"), 2, ranked=True),
    "class word": Recipe(_whole(), 2, ranked=True, class_word=True),
    "500 samples": Recipe(_whole(steps=125), 2, ranked=True),
    "2,000 samples, batch 8": Recipe(_whole(steps=250, batch_size=8), 2, ranked=True),
}
"Variants of one recipe, for tuning."
RECIPES = {**PRESETS, **VARIANTS}
