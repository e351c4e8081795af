"""The words that a run starts from: which ones are tried, and the choice among them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.metadata import INIT_TEXT, VECTORS
from train_embedding.engine.config.spec import TrainingSpec
from train_embedding.messages import Message, msg, verbatim

if TYPE_CHECKING:
    import torch

    from train_embedding.engine.data.latents import LatentDataset
    from train_embedding.engine.model.diffusion_model import DiffusionModel
    from train_embedding.engine.training.evaluation import EvaluationSet

MAX_WORDS = 32
"Largest number of words that are tried."
MAX_CAPTION_WORDS = 10
"Largest number of words from captions and file names."
COMMON_WORDS = (
    "man", "woman", "girl", "boy", "face", "dog", "cat", "animal", "bird", "monster", "robot", "toy", "doll", "car", "building",
    "house", "landscape", "forest", "flower", "food", "clothing", "painting", "drawing", "anime", "cartoon", "photo", "logo",
    "wood", "metal", "glass", "stone", "fabric",
)  # fmt: skip
"Common nouns, styles and materials, each a single token, that are tried after all other words."
StartWord = tuple[str, float, int]
"A candidate in the ranking: its words, empty for the embedding as it is; its mean loss; and the number of items of that mean."
_SAME = 1e-3
"Vectors that differ by less are the same: a file may hold them in fp16."
_WORD = re.compile(r"[^\W\d_]{3,}")
_FILLERS = frozenset((
    "and", "the", "with", "for", "from", "that", "this", "his", "her", "its", "their", "into", "over", "under", "near", "photo",
    "image", "picture", "close", "shot", "background", "style", "very", "masterpiece", "best", "quality", "highly", "detailed",
    "img", "dsc", "copy", "jpeg",
))  # fmt: skip
"Words of captions and file names that do not describe a subject."


@dataclass(frozen=True)
class WordsToTry:
    """The words that a run may start from.

    Attributes:
        words: Words and phrases.
        text: The init text that they complete; empty if they replace the vectors.
    """

    words: tuple[str, ...] = ()
    text: str = ""


def words_to_try(spec: TrainingSpec, embedding: Embedding, captions: Iterable[str]) -> WordsToTry:
    """Return the words that an embedding may start from.

    They are, in this order, those of the option `candidates`, the most frequent words of captions and file names, and common
    words. If the option `choose_start_words` is on, they complete the init text of an embedding that has not been trained. They
    replace the vectors if all of them are zeros. Any other embedding keeps its vectors, unless `candidates` are given: these
    replace the vectors.

    Args:
        spec: The options of the run.
        embedding: The embedding as it is.
        captions: Caption of each image.
    """
    given = spec.candidate_words()
    text = embedding.metadata.get(INIT_TEXT, "")
    is_empty = not any(bool(table.any()) for table in embedding.vectors.values())
    completes = spec.choose_start_words and bool(text) and not embedding.step and not spec.distills and not is_empty
    if not (is_empty or completes):
        return WordsToTry(tuple(given))
    frequent = Counter(word for caption in captions for word in dict.fromkeys(_words(caption)))
    found = [word for word, _count in frequent.most_common(MAX_CAPTION_WORDS)]
    said = _words(text)
    words = (word for word in dict.fromkeys([*given, *found, *COMMON_WORDS]) if word not in said)
    return WordsToTry(tuple(words)[:MAX_WORDS], text if completes else "")


def choose_start(
    model: DiffusionModel,
    dataset: LatentDataset,
    start: Embedding,
    tried: WordsToTry,
    evaluate: Callable[[dict[str, torch.Tensor], Sequence[EvaluationSet]], torch.Tensor],
    seed: int,
    stopped: Callable[[], bool] = lambda: False,
) -> tuple[Embedding, tuple[StartWord, ...]]:
    """Choose what an embedding starts from by the evaluation loss.

    Args:
        model: The model whose token embeddings are used.
        dataset: The training images.
        start: The embedding as it is. It is chosen if nothing gives a lower loss.
        tried: The words.
        evaluate: Computes the losses [N] of vectors on the model's device.
        seed: Seed of the images, noise and timesteps.
        stopped: Returns whether to stop early.

    Returns:
        The chosen embedding and the ranking, the best first. The number of vectors changes only if the metadata allow it.
    """
    from train_embedding.engine.training.evaluation import dataset_evaluation_sets
    from train_embedding.engine.training.start_words import ROUNDS, VectorTables, choose_completion, choose_start_words

    @cache
    def items(count: int, number: int) -> list[EvaluationSet]:
        return dataset_evaluation_sets(model, dataset.with_vectors(count), ROUNDS[number], seed + 2 + number)

    def losses(vectors: VectorTables, number: int) -> list[float]:
        placed = {key: table.to(model.device) for key, table in vectors.items()}
        count = len(next(iter(placed.values())))
        return evaluate(placed, items(count, number)).tolist()  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]

    current = dict(start.vectors)
    tables = {word: model.token_embeddings(word) for word in tried.words}
    known = {word: table for word, table in tables.items() if all(len(rows) for rows in table.values())}
    if not tried.text:
        ranked = choose_start_words(current, known, losses, stopped=stopped)
    else:
        tokens = model.token_embeddings(tried.text)
        if not _is_made_of(current, tokens):
            return start, ()
        any_count = start.metadata.get(VECTORS) == "auto"
        ranked = choose_completion(current, (tried.text, tokens), known, losses, any_count=any_count, stopped=stopped)
    chosen = replace(start, vectors=ranked[0].vectors, step=0) if ranked and ranked[0].label else start
    return chosen, tuple((candidate.label, candidate.loss, len(candidate.losses)) for candidate in ranked)


def _is_made_of(vectors: Mapping[str, torch.Tensor], tokens: Mapping[str, torch.Tensor]) -> bool:
    """Return whether vectors, [n, d] per text encoder, are the token embeddings of a text, [m, d], as `create` fills them in."""
    from train_embedding.embeddings.create import fill

    return vectors.keys() == tokens.keys() and all(
        bool((fill(tokens[key][: len(table)], len(table)) - table).abs().max() < _SAME) for key, table in vectors.items()
    )


def describe_start(ranking: tuple[StartWord, ...]) -> Message:
    """Return a sentence about the choice."""
    label, loss, _items = ranking[0]
    count, words = len(ranking), verbatim(f'"{label}"')
    before = next((mean for other, mean, _ in ranking if not other), None)
    if not label and count == 1:
        return msg("Training starts from the embedding as it is.")
    if not label:
        return msg("Training starts from the embedding as it is: the lowest loss of {count} starts.", count=count)
    if before is None:
        return msg(
            "Training starts from {words}: the lowest loss of {count} starts, {loss:.4f}.", words=words, count=count, loss=loss
        )
    return msg(
        "Training starts from {words}: the lowest loss of {count} starts, {loss:.4f} instead of {before:.4f}.",
        words=words, count=count, loss=loss, before=before,
    )  # fmt: skip


def _words(text: str) -> list[str]:
    return [word for word in _WORD.findall(text.lower()) if word not in _FILLERS]
