"""Options in earlier versions: names that saved runs, settings and API requests may still use, and options that did not exist."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RENAMED_FIELDS = {
    "accumulation": "gradient_accumulation_steps",
    "auto_stop": "early_stopping",
    "average": "ema_decay",
    "clip_gradient": "max_grad_norm",
    "context_weight": "core_loss_weight",
    "cooldown": "lr_cooldown_steps",
    "evaluate_every": "eval_every",
    "fit": "resize_mode",
    "flip": "random_flip",
    "keep_tags": "keep_tokens",
    "latent_cache": "cache_latents_to_disk",
    "mask_floor": "unmasked_weight",
    "min_snr": "min_snr_gamma",
    "shuffle_tags": "shuffle_caption",
    "tag_dropout": "caption_tag_dropout_rate",
    "warmup": "lr_warmup_steps",
}
"Old name to current name."

RETIRED_FIELDS = frozenset({"compile"})
"Options of earlier versions that had no effect. They are ignored in saved runs."

ADDED_FIELDS: dict[str, Any] = {"lr_scheduler": "constant", "choose_start_words": False}
"Options that runs of earlier versions do not have, with the values that they behaved by."


def with_current_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values under the current names. If an option has both names, the value of the current name is used."""
    renamed = {RENAMED_FIELDS[name]: value for name, value in values.items() if name in RENAMED_FIELDS}
    return renamed | {name: value for name, value in values.items() if name not in RENAMED_FIELDS}


def without_retired(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values without the retired options."""
    return {name: value for name, value in values.items() if name not in RETIRED_FIELDS}


def with_added(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a saved run with those of options that were added later."""
    return {**ADDED_FIELDS, **values}
