"""Text encoders that embeddings are made for, and the model families that they identify."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from train_embedding.messages import Message, joined, msg, verbatim

CLIP_L = 768
"Width of CLIP ViT-L/14, the text encoder of SD1 and the first one of SDXL."
OPENCLIP_H = 1024
"Width of OpenCLIP ViT-H/14, the text encoder of SD2."
OPENCLIP_BIGG = 1280
"Width of OpenCLIP ViT-bigG/14, the second text encoder of SDXL."

CHUNK = 75
"Prompt tokens per chunk: CLIP's context length of 77 without the start and end tokens."

Family = Literal["SD1", "SD2", "SDXL", "custom"]
"A family of models, identified by the widths of their text encoders."

KEYS = ("clip_l", "clip_h", "clip_g")
"Keys of the text encoders, in embeddings and in files."

_KEY_OF_WIDTH = {CLIP_L: "clip_l", OPENCLIP_H: "clip_h", OPENCLIP_BIGG: "clip_g"}
_FAMILIES: dict[frozenset[tuple[str, int]], Family] = {
    frozenset({("clip_l", CLIP_L)}): "SD1",
    frozenset({("clip_h", OPENCLIP_H)}): "SD2",
    frozenset({("clip_l", CLIP_L), ("clip_g", OPENCLIP_BIGG)}): "SDXL",
}
_PLUS = verbatim(" + ")


def key_for_width(width: int) -> str:
    """Return the key of the text encoder with vectors of a width; "clip_l" for unknown widths."""
    return _KEY_OF_WIDTH.get(width, "clip_l")


def family_of(widths: Mapping[str, int]) -> Family:
    """Return the model family whose text encoders have these widths."""
    return _FAMILIES.get(frozenset(widths.items()), "custom")


def does_not_fit(name: str, widths: Mapping[str, int], loaded: Mapping[str, int], half_of_sdxl: bool = False) -> Message:
    """Say that an embedding was made for another model than the loaded checkpoint.

    Args:
        name: Name of the embedding.
        widths: Width of its vectors per text encoder.
        loaded: Widths of the loaded checkpoint's text encoders.
        half_of_sdxl: Whether it has vectors for only one of SDXL's two text encoders.

    Returns:
        A sentence, such as '"my-cat" is for SDXL; the loaded checkpoint is SD1.'
    """
    model = msg("one of SDXL's two text encoders") if half_of_sdxl else model_of(widths)
    return msg('"{name}" is for {model}; the loaded checkpoint is {loaded}.', name=name, model=model, loaded=model_of(loaded))


def model_of(widths: Mapping[str, int]) -> Message:
    """Return a phrase for the kind of model with these text encoders: "SDXL", or "a model of width 64"."""
    family = family_of(widths)
    if family != "custom":
        return verbatim(family)
    return msg("a model of width {width}", width=joined(map(str, widths.values()), _PLUS))
