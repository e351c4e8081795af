"""Captions: what the text encoder reads beside each training picture."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from pathlib import Path

from train_embedding.engine.placeholder import Vectors
from train_embedding.errors import UnreadableFile

NAME = "[name]"
FILEWORDS = "[filewords]"
_NUMBER_PREFIX = re.compile(r"^[-\d]+\s*")
MAX_CAPTION_BYTES = 64 * 1024


def picture_words(picture: Path) -> str:
    """What `[filewords]` stands for: the text of the `.txt` file beside the picture, else its file name.

    A file name loses a number in front, and its underscores become spaces.
    Raises UnreadableFile for a caption file that is too large or not UTF-8.
    """
    text_file = picture.with_suffix(".txt")
    if not text_file.is_file():
        return _NUMBER_PREFIX.sub("", picture.stem).replace("_", " ").strip()
    data = text_file.read_bytes()
    if len(data) > MAX_CAPTION_BYTES:
        raise UnreadableFile(f'The caption file "{text_file.name}" is larger than {MAX_CAPTION_BYTES // 1024} KB.')
    try:
        return " ".join(data.decode("utf-8-sig").split())
    except UnicodeDecodeError as error:
        raise UnreadableFile(f'The caption file "{text_file.name}" is not UTF-8 text.') from error


def fill_template(line: str, words: str, *, rng: random.Random, shuffle: bool, dropout: float) -> str:
    """A template line with `[filewords]` filled in; `[name]` stays, so that no dropout can take the embedding away.

    shuffle: whether the comma-separated tags of `words` come in random order. dropout: probability of leaving out each.
    """
    tags = [tag.strip() for tag in words.split(",") if tag.strip()]
    kept = [tag for tag in tags if NAME in tag or dropout <= 0 or rng.random() >= dropout]
    if shuffle:
        rng.shuffle(kept)
    filled = line.replace(FILEWORDS, ", ".join(kept) if shuffle or dropout > 0 else words)
    return filled if NAME in filled else f"{NAME}, {filled}"


def split_at_name(caption: str, name: str, vectors: Vectors) -> list[str | Vectors]:
    """The caption as pieces, with the vectors wherever `[name]` or the embedding's name as a whole word stands."""
    whole_word = rf"(?<![\w-]){re.escape(name)}(?![\w-])"
    pieces: list[str | Vectors] = []
    for index, text in enumerate(re.split(rf"{re.escape(NAME)}|{whole_word}", caption)):
        if index:
            pieces.append(vectors)
        if text.strip():
            pieces.append(text)
    return pieces


def split_at_names(prompt: str, tables: Sequence[tuple[str, Vectors]]) -> list[str | Vectors]:
    """A prompt as pieces, with vectors wherever a name of `tables` stands as a whole word; longer names are found first."""
    if not tables:
        return [prompt] if prompt.strip() else []
    found = dict((name.lower(), vectors) for name, vectors in tables)
    alternatives = "|".join(re.escape(name) for name in sorted(found, key=len, reverse=True))
    pieces: list[str | Vectors] = []
    for index, text in enumerate(re.split(rf"(?<![\w-])({alternatives})(?![\w-])", prompt, flags=re.IGNORECASE)):
        if index % 2:
            pieces.append(found[text.lower()])
        elif text.strip():
            pieces.append(text)
    return pieces
