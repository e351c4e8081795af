"""Formats of embedding files, and the name inside a file."""

from __future__ import annotations

from pathlib import Path

from train_embedding.embeddings.format_names import FORMAT_NAMES, SUFFIXES, FormatName, format_for, suffixes_of
from train_embedding.errors import UnreadableFile
from train_embedding.messages import msg

__all__ = ["FORMAT_NAMES", "SUFFIXES", "UNLOADED", "FormatName", "format_for", "suffixes_of", "with_new_name"]

UNLOADED = (".ckpt", ".pth", ".sft")
"Suffixes that this program reads, but the WebUI and its forks ignore."


def with_new_name(file: Path, name: str) -> bytes | None:
    """Rewrite the name inside an image that carries an embedding; the WebUI uses it as the trigger word.

    Args:
        file: The file.
        name: The new name.

    Returns:
        The bytes of the renamed file; None if they need not change.

    Raises:
        UnreadableFile: This type of image cannot be written.
    """
    from train_embedding.embeddings.formats import encode, read_bytes, read_contents
    from train_embedding.embeddings.formats.containers import pixels, png_text

    if file.suffix.lower() not in pixels.SUFFIXES:
        return None
    data = read_contents(file)
    try:
        embedding = read_bytes(data, f"{name}{file.suffix}")
    except UnreadableFile:  # it carries no embedding
        return None
    if not embedding.metadata.get("name"):
        return None
    if png_text.sniff(data):
        renamed = png_text.with_new_name(data, name)
        redrawn = pixels.with_new_name(data, file.name, name, ".png")  # a card has its values twice
        return renamed if redrawn is None else png_text.with_values(redrawn, png_text.read(renamed, file.name))
    if embedding.format and file.suffix.lower() not in SUFFIXES[embedding.format]:
        raise UnreadableFile(
            msg('"{file}" contains the name of the embedding, and images of this type cannot be written.', file=file.name),
            msg("Convert it to another format first."),
        )
    redrawn = pixels.with_new_name(data, file.name, name, file.suffix.lower())
    return encode(embedding, embedding.format, file.suffix) if redrawn is None else redrawn
