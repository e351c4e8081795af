"""Kinds of embeddings: what one stands for decides the caption lines and the prompts of the previews, or needs no images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from train_embedding.engine.config import OPTIONS
from train_embedding.messages import Message, msg
from train_embedding.services.datasets import TEMPLATES

Kind = Literal["subject", "style", "negative", "prompt"]
KINDS: dict[Kind, Message] = {
    "subject": msg("Subject"),
    "style": msg("Style"),
    "negative": msg("Negative (bad images)"),
    "prompt": msg("A long prompt (no images)"),
}
"Labels. A negative embedding learns from bad images, and is used in negative prompts. A long prompt is packed into the vectors."
WITH_IMAGES: tuple[Kind, ...] = tuple(kind for kind in KINDS if kind != "prompt")
"The kinds that are trained on images."
DECIDED = ("template", "preview_prompt", "preview_negative_prompt")
"The options that a kind decides."
_DEFAULTS: dict[str, Any] = {option.name: option.default for option in OPTIONS if option.name in DECIDED}
_VALUES: dict[Kind, dict[str, Any]] = {
    "subject": {},
    "style": {
        "template": TEMPLATES["style"],
        "preview_prompt": "a house in the style of [name]\na portrait in the style of [name]",
    },
    "negative": {
        "template": TEMPLATES["negative"],
        "preview_prompt": "a portrait of a woman\na house by a lake",
        "preview_negative_prompt": "[name]",
    },
    "prompt": {},
}


def kind_values(kind: Kind) -> dict[str, Any]:
    """Return the values of the options of DECIDED for a kind."""
    return {**_DEFAULTS, **_VALUES[kind]}


def kind_of(values: Mapping[str, Any]) -> Kind | None:
    """Return the kind whose values the options have; None if they are the user's own.

    Args:
        values: Of the options, as a TrainingSpec has them; those of DECIDED are needed. With a prompt to pack and no dataset, the
            kind is "prompt", whatever the others are.
    """
    if values.get("teacher_prompt") and not values.get("dataset"):
        return "prompt"
    given = {name: values[name] for name in DECIDED}
    return next((kind for kind in WITH_IMAGES if kind_values(kind) == given), None)


def used_values(kind: Kind | None, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of options without what the kind does not use: the dataset, or the prompt to pack."""
    return {**values, "dataset" if kind == "prompt" else "teacher_prompt": ""}
