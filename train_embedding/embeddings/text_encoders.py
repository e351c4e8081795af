"""The text encoders that embeddings are made for, and the model families they identify."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

CLIP_L = 768
"Width of CLIP ViT-L/14, the text encoder of SD1 and the first one of SDXL."
OPENCLIP_H = 1024
"Width of OpenCLIP ViT-H/14, the text encoder of SD2."
OPENCLIP_BIGG = 1280
"Width of OpenCLIP ViT-bigG/14, the second text encoder of SDXL."

CHUNK = 75
"Prompt tokens that a text encoder takes at once, besides a start and an end token."

Family = Literal["SD1", "SD2", "SDXL", "custom"]
"A family of models, told by the widths of their text encoders."

KEYS = ("clip_l", "clip_h", "clip_g")
"What the encoders are called in embeddings and in files."

_KEY_OF_WIDTH = {CLIP_L: "clip_l", OPENCLIP_H: "clip_h", OPENCLIP_BIGG: "clip_g"}
_FAMILIES: dict[frozenset[tuple[str, int]], Family] = {
    frozenset({("clip_l", CLIP_L)}): "SD1",
    frozenset({("clip_h", OPENCLIP_H)}): "SD2",
    frozenset({("clip_l", CLIP_L), ("clip_g", OPENCLIP_BIGG)}): "SDXL",
}


def key_for_width(width: int) -> str:
    """Return the encoder that vectors of a width are for; "clip_l" for a width that no known encoder has."""
    return _KEY_OF_WIDTH.get(width, "clip_l")


def family_of(widths: Mapping[str, int]) -> Family:
    """Return the model family for the widths of a model's text encoders by key."""
    return _FAMILIES.get(frozenset(widths.items()), "custom")


def does_not_fit(name: str, widths: Mapping[str, int], loaded: Mapping[str, int], half_of_sdxl: bool = False) -> str:
    """Say that an embedding was made for another model than the loaded checkpoint.

    Args:
        name: Of the embedding.
        widths: Of its vectors, per text encoder.
        loaded: Widths of the loaded checkpoint's text encoders.
        half_of_sdxl: Whether it has vectors for one of SDXL's two text encoders only.

    Returns:
        A sentence, such as '"my-cat" is for SDXL; the loaded checkpoint is SD1.'
    """
    model = "one of SDXL's two text encoders" if half_of_sdxl else model_of(widths)
    return f'"{name}" is for {model}; the loaded checkpoint is {model_of(loaded)}.'


def model_of(widths: Mapping[str, int]) -> str:
    """Return the kind of model in words, by the widths of its text encoders: "SDXL", or "a model of width 64"."""
    family = family_of(widths)
    return family if family != "custom" else "a model of width " + " + ".join(str(width) for width in widths.values())
