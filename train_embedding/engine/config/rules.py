"""What the fields of a TrainingSpec may hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from train_embedding.embeddings.names import check_name
from train_embedding.engine.config.learning_rate import parse_schedule
from train_embedding.engine.prompts.wildcards import check_alternatives
from train_embedding.errors import InvalidSpec

CHOICES: dict[str, tuple[str, ...]] = {
    "timesteps": ("uniform", "stratified", "shifted"),
    "latent_sampling": ("deterministic", "once", "random"),
    "resize_mode": ("crop", "resize"),
    "masks": ("auto", "alpha", "file", "none"),
    "encoders": ("all", "clip_l", "clip_g"),
    "optimizer": ("adamw", "direction", "prodigy"),
    "loss": ("mse", "huber"),
    "keep": ("best", "last"),
}
"The words that a field may hold."
TEXTS = (
    "embedding", "dataset", "teacher_prompt", "preset", "candidates", "preview_prompt", "preview_negative_prompt", *CHOICES,
)  # fmt: skip
MAX_CANDIDATES = 32
_FLAGS = ("shuffle_caption", "buckets", "random_flip", "repeats", "cache_latents_to_disk", "early_stopping")
_WHOLE = {
    "steps": (1, 1_000_000), "batch_size": (1, 256), "width": (0, 4096), "height": (0, 4096), "keep_tokens": (0, 1000),
    "seed": (0, 2**32 - 1), "gradient_accumulation_steps": (1, 256), "lr_warmup_steps": (0, 1_000_000),
    "eval_every": (0, 1_000_000), "min_steps": (0, 1_000_000), "lr_cooldown_steps": (0, 1_000_000),
    "save_every": (0, 1_000_000), "preview_every": (0, 1_000_000),
    "preview_seed": (0, 2**32 - 1), "preview_steps": (1, 150),
}  # fmt: skip
_NUMBERS = {
    "caption_tag_dropout_rate": (0.0, 1.0), "unmasked_weight": (0.0, 1.0), "max_grad_norm": (0.0, 1e6),
    "min_snr_gamma": (0.0, 1e6),
    "timestep_focus": (0.0, 1.0), "core_loss_weight": (0.0, 1e3), "ema_decay": (0.0, 0.9999), "preview_guidance": (0.0, 100.0),
}  # fmt: skip


def check_values(values: Mapping[str, Any]) -> None:
    """Judges the values of all fields, by name. Raises InvalidSpec, and InvalidName for the embedding's."""
    check_name(values["embedding"])
    parse_schedule(values["learning_rate"])
    if values["teacher_prompt"].strip() and values["dataset"]:
        raise InvalidSpec("A run learns from pictures or from a prompt, not from both.", "Leave one of them empty.")
    if len(values["candidates"].split(",")) > MAX_CANDIDATES:
        raise InvalidSpec(f"There are more than {MAX_CANDIDATES} candidate words.", "Leave the less likely ones out.")
    for name, choices in CHOICES.items():
        if values[name] not in choices:
            raise InvalidSpec(f'{name} is "{values[name]}"; it must be one of {", ".join(choices)}.')
    for name in _FLAGS:
        if not isinstance(values[name], bool):
            raise InvalidSpec(f"{name} is {values[name]!r}; it must be true or false.")
    _check_whole_numbers(values)
    _check_template(values["template"])
    for name, (low, high) in _NUMBERS.items():
        value = values[name]
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise InvalidSpec(f"{name} is {value!r}; it must be a number from {low:g} to {high:g}.")


def _check_whole_numbers(values: Mapping[str, Any]) -> None:
    for name, (low, high) in _WHOLE.items():
        value = values[name]
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise InvalidSpec(f"{name} is {value!r}; it must be a whole number from {low} to {high}.")
    for name in ("width", "height"):
        if values[name] % 8:
            raise InvalidSpec(f"{name} is {values[name]}; it must be a multiple of 8.")


def _check_template(template: tuple[str, ...]) -> None:
    if not template or any("[name]" not in line and "[filewords]" not in line for line in template):
        raise InvalidSpec("Each line of the caption template must contain [name] or [filewords].")
    for line in template:
        try:
            check_alternatives(line)
        except ValueError as error:
            raise InvalidSpec(f'The caption line "{line}" cannot be used. {error}') from error
