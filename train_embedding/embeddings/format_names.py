"""Names and suffixes of the embedding file formats; importable without torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

from train_embedding.errors import InvalidInput
from train_embedding.messages import joined, msg

FormatName = Literal["webui", "safetensors", "sdxl", "kohya", "onetrainer", "diffusers", "png", "image"]
"A file format for embeddings."
FORMAT_NAMES: tuple[FormatName, ...] = get_args(FormatName)
"In order of precedence: if only a suffix is given, the first format with that suffix is used."

SUFFIXES: Mapping[FormatName, tuple[str, ...]] = {
    "webui": (".pt", ".bin"),
    "safetensors": (".safetensors",),
    "sdxl": (".safetensors", ".pt", ".bin"),
    "kohya": (".safetensors", ".pt", ".bin"),
    "onetrainer": (".safetensors", ".pt", ".bin"),
    "diffusers": (".safetensors", ".pt", ".bin"),
    "png": (".png",),
    # Not `.avif`, which Pillow writes only lossily.
    "image": (".png", ".webp", ".jxl"),
}
"Suffixes by format, the default one first."


def check_format(name: str) -> FormatName:
    """Check that a text is the name of a format.

    Raises:
        InvalidInput: It is not.
    """
    if name not in FORMAT_NAMES:
        raise InvalidInput(msg('Unknown format "{name}".', name=name), msg("Use one of {names}.", names=joined(FORMAT_NAMES)))
    return name


def suffixes_of(name: str) -> tuple[str, ...]:
    """Return the suffixes of a format, the default one first.

    Raises:
        InvalidInput: The format is unknown.
    """
    return SUFFIXES[check_format(name)]


def format_for(suffix: str) -> FormatName:
    """Return the default format for a suffix.

    Raises:
        InvalidInput: No format has this suffix.
    """
    for name in FORMAT_NAMES:
        if suffix.lower() in SUFFIXES[name]:
            return name
    every = dict.fromkeys(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)
    raise InvalidInput(
        msg('Embeddings cannot be written as "{suffix}" files.', suffix=suffix), msg("Use one of {names}.", names=joined(every))
    )
