"""Facts from a checkpoint's file: Forge loads the chosen checkpoint only when it generates an image."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

_CROSS_ATTENTION = "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"
"[c, width of the context]"
_WIDTHS = {768: {"clip_l": 768}, 1024: {"clip_h": 1024}, 2048: {"clip_l": 768, "clip_g": 1280}}
_RESOLUTIONS = {768: 512, 1024: 768, 2048: 1024}
_BITSANDBYTES = "bitsandbytes__"
"Part of the keys of weights in 4 bits."


def facts_of_file(checkpoint_info: Any) -> dict[str, Any]:
    """Return the fields of HostInfo that follow from a checkpoint's file.

    There are no widths unless it is a `.safetensors` file of a known model family.
    """
    named = {"checkpoint_name": checkpoint_info.model_name, "checkpoint_hash": checkpoint_info.shorthash or ""}
    shape = _shapes(Path(checkpoint_info.filename)).get(_CROSS_ATTENTION)
    if shape is None or len(shape) < 2 or shape[1] not in _WIDTHS:
        return named
    widths = _WIDTHS[shape[1]]
    return {**named, "widths": dict(widths), "resolution": _RESOLUTIONS[shape[1]]}


def quantised_as(path: Path) -> str:
    """Return how the weights in a file are quantised, "gguf" or "bitsandbytes"; empty where they are not."""
    if path.suffix.lower() == ".gguf":
        return "gguf"
    return "bitsandbytes" if any(_BITSANDBYTES in key for key in _shapes(path)) else ""


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shapes of a `.safetensors` file's tensors by name; none for another or an unreadable one."""
    try:
        return _read_shapes(path, path.stat().st_mtime_ns) if path.suffix.lower() == ".safetensors" else {}
    except OSError:
        return {}


@functools.lru_cache(maxsize=8)
def _read_shapes(path: Path, _modified: int) -> dict[str, tuple[int, ...]]:
    """Reads the header alone, a few hundred kilobytes."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            return {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
    except SafetensorError:
        return {}
