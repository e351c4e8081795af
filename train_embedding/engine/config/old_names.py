"""Names that the options of a training run had in earlier versions, for runs, settings and API bodies that still use them."""

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
"Old name to the name of today."

RETIRED_FIELDS = frozenset({"compile"})
"Options that saved runs may hold. They never had an effect, and are left out when such a run is read."


def with_current_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values under the names of today; where both names of an option are there, the value of the new one."""
    renamed = {RENAMED_FIELDS[name]: value for name, value in values.items() if name in RENAMED_FIELDS}
    return renamed | {name: value for name, value in values.items() if name not in RENAMED_FIELDS}


def without_retired(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values without options that no longer exist."""
    return {name: value for name, value in values.items() if name not in RETIRED_FIELDS}
