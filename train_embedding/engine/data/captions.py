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
from train_embedding.engine.data.file_names import displayable
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
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark is its beginning
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"Byte order marks and their encodings."
_SAVE_AS_UTF8 = msg("Save it as UTF-8.")
_NUMBER_PREFIX = re.compile(r"^[-\d]+\s*")


class Captions:
    """The prompts of a run's images.

    Args:
        spec: The options of the run.
        captions: Caption of each image, as `load_caption` returns it.
        vectors: Number of vectors of the embedding.
    """

    def __init__(self, spec: TrainingSpec, captions: Sequence[str], vectors: int) -> None:
        self._spec = spec
        self._template = [mark_name(line, spec.embedding) for line in spec.template]
        self._captions = [mark_name(caption, spec.embedding) for caption in captions]
        self._vectors = VectorRows(0, vectors)

    def draw(self, images: Sequence[int], step: int) -> PromptBatch:
        """Make the prompts of a step. Template lines, wildcards and tags depend on the seed and the step only."""
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
        """Make prompts for evaluation: the first template line, no dropout or shuffling, wildcards picked by `seed`."""
        rng = random.Random(seed)
        return self._prompts([fill_template(self._template[0], self._captions[image], rng=rng) for image in images])

    def _prompts(self, captions: Sequence[str]) -> PromptBatch:
        return batch_captions(captions, self._spec.embedding, self._vectors)


def batch_captions(captions: Sequence[str], name: str, vectors: VectorRows) -> PromptBatch:
    """Tokenize captions as the WebUI's trainer does, with the vectors in place of `[name]` or the embedding's name."""
    return batch_tokenized([tokenize_caption(mark_name(caption, name), NAME, vectors) for caption in captions])


def load_caption(image: Path) -> str:
    """Load an image's caption, which replaces `[filewords]`: the text of its `.txt` file, or its file name if there is none.

    In a file name, a leading number is removed, underscores become spaces, and braces are escaped.

    Raises:
        UnreadableFile: The caption file cannot be read, or its text cannot be used.
    """
    text_file = caption_path(image)
    if not file_exists(text_file):
        name = image.stem.encode("utf-8", "replace").decode("utf-8")  # a name on the disk may not be valid text
        words = escape_alternatives(_NUMBER_PREFIX.sub("", name).replace("_", " ").strip())
        try:
            parse_attention(words)
        except InvalidInput as error:
            raise UnreadableFile(
                msg('The file name "{name}" cannot be used as a caption: {problem}', name=name, problem=error.message), error.hint
            ) from error
        return words
    words = read_caption_file(text_file)
    try:
        check_alternatives(words)
        parse_attention(words)
    except InvalidInput as error:
        raise UnreadableFile(
            msg(
                'The caption file "{file}" cannot be used: {problem}',
                file=displayable(text_file.name),
                problem=error.message,
            ),
            error.hint,
        ) from error
    return words


def file_exists(path: Path) -> bool:
    """Check whether a file exists. A path that is too long for the file system does not exist."""
    return os.path.isfile(path)  # noqa: PTH113 - Path.is_file raises an error for such a path before Python 3.12


def caption_path(image: Path) -> Path:
    """Return the path of an image's caption file, whether or not it exists."""
    return image.with_suffix(".txt")


def fill_template(
    line: str, words: str, *, rng: random.Random, shuffle: bool = False, dropout: float = 0.0, keep: int = 0
) -> str:
    """Insert a caption into a template line. `[name]` is never replaced or dropped; it is put in front if it is missing.

    Args:
        line: The template line, with `[name]` or `[filewords]`.
        words: The caption, with `[name]` in place of the embedding's name, as `mark_name` returns it.
        rng: Source of randomness for wildcards, the order of tags and dropout.
        shuffle: Whether to shuffle the comma-separated tags.
        dropout: Probability of removing each tag.
        keep: Number of tags at the start that are neither moved nor removed.
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
        The words, separated by single spaces.

    Raises:
        UnreadableFile: It cannot be read, is too large, or is not text.
    """
    name = displayable(file.name)
    try:
        data = read_regular_file(file, MAX_CAPTION_BYTES)
    except OSError as error:
        raise UnreadableFile(
            msg('The caption file "{file}" cannot be read: {reason}.', file=name, reason=error.strerror or error)
        ) from error
    if impostor := describe_impostor(data):
        raise UnreadableFile(msg('The caption file "{file}" {problem}.', file=name, problem=impostor))
    if len(data) > MAX_CAPTION_BYTES:
        raise UnreadableFile(
            msg('The caption file "{file}" is larger than {most} KB.', file=name, most=MAX_CAPTION_BYTES // 1024)
        )
    try:
        text = decode_text(data)
    except UnicodeDecodeError as error:
        raise UnreadableFile(msg('The caption file "{file}" is not UTF-8 or UTF-16 text.', file=name), _SAVE_AS_UTF8) from error
    if "\0" in text:  # UTF-16 without a byte order mark, or not text
        raise UnreadableFile(msg('The caption file "{file}" is not text, or its encoding is unknown.', file=name), _SAVE_AS_UTF8)
    return " ".join(text.split())


def decode_text(data: bytes) -> str:
    """Decode text in UTF-8, or in the encoding of its byte order mark. Raises UnicodeDecodeError."""
    return data.decode(next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8"))
