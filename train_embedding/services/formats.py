"""The formats of embedding files as the services use them: which there are, and how a file is renamed."""

from __future__ import annotations

from pathlib import Path

from train_embedding.embeddings.format_names import FORMAT_NAMES, SUFFIXES, FormatName, format_for, suffixes_of
from train_embedding.errors import UnreadableFile

__all__ = ["FORMAT_NAMES", "SUFFIXES", "UNLOADED", "FormatName", "format_for", "suffixes_of", "with_new_name"]

UNLOADED = (".ckpt", ".pth", ".sft")
"Suffixes that are read here, and that the WebUI and its forks ignore."


def with_new_name(file: Path, name: str) -> bytes | None:
    """Rewrite the name inside an image that carries an embedding, by which the WebUI calls it.

    Returns:
        The bytes of the renamed file; None where they need not change.

    Raises:
        UnreadableFile: For a kind of image that cannot be written here.
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
        return png_text.with_new_name(data, name)
    if embedding.format and file.suffix.lower() not in SUFFIXES[embedding.format]:
        raise UnreadableFile(
            f'"{file.name}" carries its name inside, and such a file cannot be written here.',
            "Convert it to another format first.",
        )
    return encode(embedding, embedding.format, file.suffix)
