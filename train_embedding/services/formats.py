"""The formats of embedding files as the services use them: which there are, and what tells that vectors are the same."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from train_embedding.errors import InvalidInput, UnreadableFile

SUFFIXES: Mapping[str, tuple[str, ...]] = {
    "webui": (".pt", ".bin"),
    "safetensors": (".safetensors",),
    "sdxl": (".safetensors", ".pt", ".bin"),
    "kohya": (".safetensors", ".pt", ".bin"),
    "onetrainer": (".safetensors", ".pt", ".bin"),
    "diffusers": (".safetensors", ".pt", ".bin"),
    "png": (".png",),
    "picture": (".png", ".webp", ".jxl"),
}
"""Per form that can be written, the suffixes of its files, the usual one first: what `embeddings.formats.suffixes_of` says, for
front ends that shall not load torch to show their choices."""

UNLOADED = (".ckpt", ".pth", ".sft")
"Suffixes that are read here, and that the WebUI and its relatives pass over."


def with_new_name(file: Path, name: str) -> bytes | None:
    """What a picture that carries an embedding must hold to be called `name`; None where its bytes may stay as they are.

    The WebUI goes by the name inside such a picture. In a PNG with a text that alone is changed; where the pixels hold the name,
    the picture is drawn anew. Raises UnreadableFile for a kind of picture that cannot be written.
    """
    from train_embedding.embeddings.formats import encode, read_bytes, read_contents
    from train_embedding.embeddings.formats.containers import pixels, png_text

    if file.suffix.lower() not in pixels.SUFFIXES:
        return None
    data = read_contents(file)
    try:
        embedding = read_bytes(data, f"{name}{file.suffix}")
    except UnreadableFile:  # it carries nothing that a host could call by a name
        return None
    if not embedding.metadata.get("name"):
        return None
    if png_text.sniff(data):
        return png_text.called(data, name)
    if file.suffix.lower() not in SUFFIXES[embedding.format]:
        raise UnreadableFile(
            f'"{file.name}" carries its name inside, and such a file cannot be written here.', "Convert it to another form first."
        )
    return encode(embedding, embedding.format, file.suffix)


def suffixes_of(form: str) -> tuple[str, ...]:
    """Raises InvalidInput for a form that there is not."""
    if form not in SUFFIXES:
        raise InvalidInput(f'There is no format "{form}" of embedding files.', f"Use one of {', '.join(SUFFIXES)}.")
    return SUFFIXES[form]


def form_for(suffix: str) -> str:
    """The form that files of a suffix are written in. Raises InvalidInput where there is none."""
    form = next((form for form, suffixes in SUFFIXES.items() if suffix.lower() in suffixes), None)
    if form is None:
        every = dict.fromkeys(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)
        raise InvalidInput(f'An embedding cannot be written to a "{suffix}" file.', f"Use one of {', '.join(every)}.")
    return form
