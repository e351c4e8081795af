"""Facts from the header of a checkpoint's file, since Forge loads the selected checkpoint only when it generates an image."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from train_embedding.hosts.base import OTHER_FAMILY

_CROSS_ATTENTION = "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"
"Key of a weight with the shape [channels, context width], which identifies the model family."
_WIDTHS = {768: {"clip_l": 768}, 1024: {"clip_h": 1024}, 2048: {"clip_l": 768, "clip_g": 1280}}
_RESOLUTIONS = {768: 512, 1024: 768, 2048: 1024}
_OTHER_FAMILIES = ("double_blocks.0.", "joint_blocks.0.")
"Beginnings of keys in the networks of Flux and SD3, after the prefix that some files have."
_PREFIX = "model.diffusion_model."
_BITSANDBYTES = "bitsandbytes__"
"Part of the keys of 4-bit weights."


def facts_of_file(checkpoint_info: Any) -> dict[str, Any]:
    """Return the fields of HostInfo that can be read from a checkpoint's file.

    The widths are known only for `.safetensors` files of a known model family.
    """
    named = {"checkpoint_name": checkpoint_info.model_name, "checkpoint_hash": checkpoint_info.shorthash or ""}
    shapes = _shapes(Path(checkpoint_info.filename))
    if any(key.removeprefix(_PREFIX).startswith(_OTHER_FAMILIES) for key in shapes):
        return {**named, "resolution": 1024, "why_no_training": OTHER_FAMILY}
    shape = shapes.get(_CROSS_ATTENTION)
    if shape is None or len(shape) < 2 or shape[1] not in _WIDTHS:
        return named
    widths = _WIDTHS[shape[1]]
    return {**named, "widths": dict(widths), "resolution": _RESOLUTIONS[shape[1]]}


def quantised_as(path: Path) -> str:
    """Return how the weights in a file are quantised, "gguf" or "bitsandbytes"; empty if they are not."""
    if path.suffix.lower() == ".gguf":
        return "gguf"
    return "bitsandbytes" if any(_BITSANDBYTES in key for key in _shapes(path)) else ""


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the tensors in a `.safetensors` file by name; empty for other files, and if it cannot be read."""
    try:
        return _read_shapes(path, path.stat().st_mtime_ns) if path.suffix.lower() == ".safetensors" else {}
    except OSError:
        return {}


@functools.lru_cache(maxsize=8)
def _read_shapes(path: Path, _modified: int) -> dict[str, tuple[int, ...]]:
    """Read the shapes from the header, a few hundred kilobytes; `_modified` is part of the cache key."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            return {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
    except SafetensorError:
        return {}
