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
    Raises UnreadableFile for a caption file that cannot be read, is too large or is not UTF-8.
    """
    text_file = picture.with_suffix(".txt")
    if not text_file.is_file():
        return _NUMBER_PREFIX.sub("", picture.stem).replace("_", " ").strip()
    try:
        with text_file.open("rb") as opened:
            data = opened.read(MAX_CAPTION_BYTES + 1)
    except OSError as error:
        raise UnreadableFile(f'The caption file "{text_file.name}" cannot be read: {error.strerror or error}.') from error
    if len(data) > MAX_CAPTION_BYTES:
        raise UnreadableFile(f'The caption file "{text_file.name}" is larger than {MAX_CAPTION_BYTES // 1024} KB.')
    try:
        return " ".join(data.decode("utf-8-sig").split())
    except UnicodeDecodeError as error:
        raise UnreadableFile(f'The caption file "{text_file.name}" is not UTF-8 text.') from error


def fill_template(line: str, words: str, *, rng: random.Random, shuffle: bool, dropout: float) -> str:
    """A template line with `[filewords]` filled in; `[name]` stays, so that no dropout can take the embedding away.

    words: with `[name]` wherever they name the embedding, as `mark_name` writes it.
    shuffle: whether the comma-separated tags of `words` come in random order. dropout: probability of leaving out each.
    """
    tags = [tag.strip() for tag in words.split(",") if tag.strip()]
    kept = [tag for tag in tags if NAME in tag or dropout <= 0 or rng.random() >= dropout]
    if shuffle:
        rng.shuffle(kept)
    filled = line.replace(FILEWORDS, ", ".join(kept) if shuffle or dropout > 0 else words)
    return filled if NAME in filled else f"{NAME}, {filled}"


def mark_name(text: str, name: str) -> str:
    """The text with `[name]` wherever the embedding's name stands as a whole word; CLIP, and so this, takes no heed of case."""
    pattern = f"({re.escape(NAME)}|{re.escape(FILEWORDS)})|{_whole_word(name)}"
    return re.sub(pattern, lambda match: match[1] or NAME, text, flags=re.IGNORECASE)


def split_at_name(caption: str, name: str, vectors: Vectors) -> list[str | Vectors]:
    """The caption as pieces, with the vectors wherever `[name]` or the embedding's name as a whole word stands."""
    pieces: list[str | Vectors] = []
    for index, text in enumerate(mark_name(caption, name).split(NAME)):
        if index:
            pieces.append(vectors)
        if text.strip():
            pieces.append(text)
    return pieces


def split_at_names(prompt: str, tables: Sequence[tuple[str, Vectors]]) -> list[str | Vectors]:
    """A prompt as pieces, with vectors wherever a name of `tables` stands as a whole word; longer names are found first."""
    longest_first = sorted(tables, key=lambda table: len(table[0]), reverse=True)
    pattern = "|".join(f"({_whole_word(name)})" for name, _vectors in longest_first)
    pieces: list[str | Vectors] = []
    end = 0
    for match in re.finditer(pattern, prompt, re.IGNORECASE) if tables else ():
        assert match.lastindex is not None
        pieces += [prompt[end : match.start()], longest_first[match.lastindex - 1][1]]
        end = match.end()
    return [piece for piece in (*pieces, prompt[end:]) if isinstance(piece, Vectors) or piece.strip()]


def _whole_word(name: str) -> str:
    return rf"(?<![\w-]){re.escape(name)}(?![\w-])"
