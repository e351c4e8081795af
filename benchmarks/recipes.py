"""The recipes that `benchmarks.learning` compares: the presets as they come, and variants of the default one for tuning."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from benchmarks.optimizers import MakeOptimizer, full_matrix, low_rank
from train_embedding.engine.config.presets import preset_values

Start = Literal["text", "completed", "auto", "words"]


@dataclass(frozen=True)
class Recipe:
    """How an embedding is made and trained.

    Attributes:
        options: Options of the run.
        vectors: Number of vectors.
        start: What training starts from: the init text, completed by the word with the lowest loss ("completed"; "auto" also
            chooses the number of vectors), or the words with the lowest loss alone.
        class_word: Whether captions and prompts have the init text after the trigger word (AttnDreamBooth, Pang et al. 2024,
            arXiv 2406.05000).
        optimizer: Makes an optimizer that the package does not have, in place of that of the options.
    """

    options: dict[str, Any] = field(default_factory=dict[str, Any])
    vectors: int = 1
    start: Start = "text"
    class_word: bool = False
    optimizer: MakeOptimizer | None = None


def _variant(**options: Any) -> dict[str, Any]:
    """Return options that train to the last step, so that variants see the same number of samples."""
    return {
        "early_stopping": False, "lr_cooldown_steps": 0, "lr_scheduler": "linear", "ema_decay": 0.0,
        "timesteps": "stratified", "latent_sampling": "deterministic", "optimizer": "direction", "learning_rate": "0.12",
        "batch_size": 2, "steps": 62, "eval_every": 31, "keep": "last", **options,
    }  # fmt: skip


CLASSIC = "WebUI classic"
PRESETS = {
    "Fast": Recipe(preset_values("Fast"), 2, start="auto"),
    "Quality": Recipe(preset_values("Quality"), 2, start="auto"),
    CLASSIC: Recipe(preset_values("WebUI classic")),
}
"Presets, with the number of vectors and the start that an artist gets without changing anything."
VARIANTS = {
    "124 samples": Recipe(_variant(), 2, start="auto"),
    "init text": Recipe(_variant(), 2),
    "init text, one vector": Recipe(_variant(), 1),
    "completed": Recipe(_variant(), 2, start="completed"),
    "completed, one vector": Recipe(_variant(), 1, start="completed"),
    "lowest words": Recipe(_variant(), 2, start="words"),
    "four vectors": Recipe(_variant(), 4),
    "class word": Recipe(_variant(), 2, start="auto", class_word=True),
    "rate 0.06": Recipe(_variant(learning_rate="0.06"), 2, start="auto"),
    "rate 0.24": Recipe(_variant(learning_rate="0.24"), 2, start="auto"),
    "cosine": Recipe(_variant(lr_scheduler="cosine"), 2, start="auto"),
    "EMA 0.9": Recipe(_variant(ema_decay=0.9), 2, start="auto"),
    "uniform timesteps": Recipe(_variant(timesteps="uniform"), 2, start="auto"),
    "shifted timesteps": Recipe(_variant(timesteps="shifted", timestep_focus=0.8), 2, start="auto"),
    "batch 1": Recipe(_variant(batch_size=1, steps=124), 2, start="auto"),
    "batch 4": Recipe(_variant(batch_size=4, steps=31), 2, start="auto"),
    "AdamW 1e-2": Recipe(_variant(optimizer="adamw", learning_rate="1e-2"), 2, start="auto"),
    "Prodigy": Recipe(_variant(optimizer="prodigy", learning_rate="1"), 2, start="auto"),
    "full-matrix AdaGrad, damping 0.1": Recipe(_variant(), 2, start="auto", optimizer=full_matrix(0.1)),
    "full-matrix AdaGrad, damping 1": Recipe(_variant(), 2, start="auto", optimizer=full_matrix(1)),
    "16 components of words": Recipe(_variant(), 2, start="auto", optimizer=low_rank(16)),
    "26 components of words": Recipe(_variant(), 2, start="auto", optimizer=low_rank(26)),
    "248 samples": Recipe(_variant(steps=124), 2, start="auto"),
    "248 samples, batch 4": Recipe(_variant(batch_size=4), 2, start="auto"),
    "500 samples, batch 4": Recipe(_variant(batch_size=4, steps=125), 2, start="auto"),
}
"Variants of the first half of Fast, with half of its samples unless the name says otherwise, for tuning."
RECIPES = {**PRESETS, **VARIANTS}
