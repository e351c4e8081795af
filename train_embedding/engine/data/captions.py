"""Captions of the training images, as prompts for the text encoders."""

from __future__ import annotations

import codecs
import os
import random
import re
from collections.abc import Sequence
from pathlib import Path

from train_embedding.embeddings.formats.impostors import describe_impostor
from train_embedding.embeddings.regular_files import read_regular_file
from train_embedding.engine.config.spec import TrainingSpec
from train_embedding.engine.prompts.attention_syntax import parse_attention, split_at_commas
from train_embedding.engine.prompts.embedding_names import FILEWORDS, NAME, mark_name
from train_embedding.engine.prompts.encoding import batch_tokenized, tokenize_caption
from train_embedding.engine.prompts.splicing import PromptBatch, VectorRows
from train_embedding.engine.prompts.wildcards import check_alternatives, draw_alternatives, escape_alternatives
from train_embedding.errors import InvalidInput, UnreadableFile
from train_embedding.messages import msg

MAX_CAPTION_BYTES = 64 * 1024
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # which begins as UTF-16 does
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"Byte order marks and their encodings."
_NUMBER_PREFIX = re.compile(r"^[-\d]+\s*")


class Captions:
    """The prompts of a run's images.

    Args:
        spec: Gives the template, the dropout and the seed.
        captions: One per image, as `load_caption` returns them.
        vectors: How many the embedding has.
    """

    def __init__(self, spec: TrainingSpec, captions: Sequence[str], vectors: int) -> None:
        self._spec = spec
        self._template = [mark_name(line, spec.embedding) for line in spec.template]
        self._captions = [mark_name(caption, spec.embedding) for caption in captions]
        self._vectors = VectorRows(0, vectors)

    def draw(self, images: Sequence[int], step: int) -> PromptBatch:
        """Make a step's prompts; template lines, wildcards and tags follow from the seed and the step."""
        spec = self._spec
        rng = random.Random(spec.seed * 1_000_003 + step)
        captions = [
            fill_template(
                rng.choice(self._template),
                self._captions[image],
                rng=rng,
                shuffle=spec.shuffle_caption,
                dropout=spec.caption_tag_dropout_rate,
                keep=spec.keep_tokens,
            )
            for image in images
        ]
        return self._prompts(captions)

    def for_evaluation(self, images: Sequence[int], seed: int) -> PromptBatch:
        """Make prompts for evaluation: the template's first line, no dropout and no shuffling, wildcards drawn from `seed`."""
        rng = random.Random(seed)
        return self._prompts([fill_template(self._template[0], self._captions[image], rng=rng) for image in images])

    def _prompts(self, captions: Sequence[str]) -> PromptBatch:
        return batch_captions(captions, self._spec.embedding, self._vectors)


def batch_captions(captions: Sequence[str], name: str, vectors: VectorRows) -> PromptBatch:
    """Tokenize captions as the WebUI's trainer does, with the vectors in place of `[name]` or the embedding's name."""
    return batch_tokenized([tokenize_caption(mark_name(caption, name), NAME, vectors) for caption in captions])


def load_caption(image: Path) -> str:
    """Load an image's caption, which replaces `[filewords]`: the text of its `.txt` file, else its file name.

    Of a file name, a number in front is removed, underscores become spaces, and braces are escaped.

    Raises:
        UnreadableFile: The caption file cannot be read, or its text cannot be used.
    """
    text_file = caption_path(image)
    if not file_exists(text_file):
        name = image.stem.encode("utf-8", "replace").decode("utf-8")  # a name on the disk may be no text
        words = escape_alternatives(_NUMBER_PREFIX.sub("", name).replace("_", " ").strip())
        _check_weights(words, f'The file name "{name}" cannot be used as a caption.')
        return words
    words = read_caption_file(text_file)
    try:
        check_alternatives(words)
    except InvalidInput as error:
        raise UnreadableFile(
            msg('The caption file "{file}" cannot be used: {problem}', file=text_file.name, problem=error.message), error.hint
        ) from error
    _check_weights(words, f'The caption file "{text_file.name}" cannot be used.')
    return words


def _check_weights(words: str, what: str) -> None:
    """Raise UnreadableFile, with a message that begins with `what`, for a weight that is not a number; a run would fail on it."""
    try:
        parse_attention(words)
    except InvalidInput as error:
        raise UnreadableFile(f"{what} {error.message}", error.hint) from error


def file_exists(path: Path) -> bool:
    """Check whether a file exists. A path that is too long for the file system does not."""
    return os.path.isfile(path)  # noqa: PTH113 - Path.is_file raises then, until Python 3.12


def caption_path(image: Path) -> Path:
    """Return the path of an image's caption file, whether or not it exists."""
    return image.with_suffix(".txt")


def fill_template(
    line: str, words: str, *, rng: random.Random, shuffle: bool = False, dropout: float = 0.0, keep: int = 0
) -> str:
    """Fill a caption into a template line. `[name]` stays, and dropout never removes it.

    Args:
        line: With `[name]` or `[filewords]`.
        words: The caption, with `[name]` wherever it names the embedding, as `mark_name` writes it.
        rng: Draws wildcards in the line and the caption, the order of tags and the dropout.
        shuffle: Whether the comma-separated tags come in random order.
        dropout: Probability of removing each tag.
        keep: How many of the first tags are neither moved nor removed.
    """
    line, words = draw_alternatives(line, rng), draw_alternatives(words, rng)
    if shuffle or dropout > 0:
        tags = [tag.strip() for tag in split_at_commas(words) if tag.strip()]
        first, rest = tags[:keep], tags[keep:]
        kept = [tag for tag in rest if NAME in tag or dropout <= 0 or rng.random() >= dropout]
        if shuffle:
            rng.shuffle(kept)
        words = ", ".join(first + kept)
    filled = line.replace(FILEWORDS, words)
    return filled if NAME in filled else f"{NAME}, {filled}"


def read_caption_file(file: Path) -> str:
    """Read a caption file in UTF-8, or in UTF-16 or UTF-32 with a byte order mark.

    Returns:
        Its words, separated by single spaces.

    Raises:
        UnreadableFile: It cannot be read, is too large, or is not text.
    """
    what = f'The caption file "{file.name}"'
    try:
        data = read_regular_file(file, MAX_CAPTION_BYTES)
    except OSError as error:
        raise UnreadableFile(f"{what} cannot be read: {error.strerror or error}.") from error
    if impostor := describe_impostor(data):
        raise UnreadableFile(f"{what} {impostor}.")
    if len(data) > MAX_CAPTION_BYTES:
        raise UnreadableFile(f"{what} is larger than {MAX_CAPTION_BYTES // 1024} KB.")
    try:
        text = decode_text(data)
    except UnicodeDecodeError as error:
        raise UnreadableFile(f"{what} is not UTF-8 or UTF-16 text. Save it as UTF-8.") from error
    if "\0" in text:  # UTF-16 without a mark, or not text
        raise UnreadableFile(f"{what} is not text, or its encoding is unknown. Save it as UTF-8.")
    return " ".join(text.split())


def decode_text(data: bytes) -> str:
    """Decode text in UTF-8, or in the encoding of its byte order mark. Raises UnicodeDecodeError."""
    return data.decode(next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8"))
