"""The formats that embedding files are written in: their names and suffixes, which need no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

from train_embedding.errors import InvalidInput

FormatName = Literal["webui", "safetensors", "sdxl", "kohya", "onetrainer", "diffusers", "png", "image"]
"The name of a format."
FORMAT_NAMES: tuple[FormatName, ...] = get_args(FormatName)
"In this order: where only a suffix is given, the first format that has it is written."

SUFFIXES: Mapping[FormatName, tuple[str, ...]] = {
    "webui": (".pt", ".bin"),
    "safetensors": (".safetensors",),
    "sdxl": (".safetensors", ".pt", ".bin"),
    "kohya": (".safetensors", ".pt", ".bin"),
    "onetrainer": (".safetensors", ".pt", ".bin"),
    "diffusers": (".safetensors", ".pt", ".bin"),
    "png": (".png",),
    # Not `.avif`, which Pillow only writes with losses.
    "image": (".png", ".webp", ".jxl"),
}
"Per format, the suffixes of its files, the usual one first."


def check_format(name: str) -> FormatName:
    """Return the name of a format, typed.

    Raises:
        InvalidInput: For any other text.
    """
    if name not in FORMAT_NAMES:
        raise InvalidInput(f'There is no format "{name}" of embedding files.', f"Use one of {', '.join(FORMAT_NAMES)}.")
    return name


def suffixes_of(name: str) -> tuple[str, ...]:
    """Return the suffixes of a format's files, the usual one first.

    Raises:
        InvalidInput: For an unknown format.
    """
    return SUFFIXES[check_format(name)]


def format_for(suffix: str) -> FormatName:
    """Return the format that files of a suffix are written in.

    Raises:
        InvalidInput: Where no format has such files.
    """
    for name in FORMAT_NAMES:
        if suffix.lower() in SUFFIXES[name]:
            return name
    every = dict.fromkeys(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)
    raise InvalidInput(f'An embedding cannot be written to a "{suffix}" file.', f"Use one of {', '.join(every)}.")
