"""Inspection: an embedding's figures, its nearest words and embeddings, and the tokens of a prompt."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.text_encoders import model_of
from train_embedding.errors import HostFailed, InvalidInput, NotFound, UnreadableFile
from train_embedding.hosts.base import Host
from train_embedding.services.inspection.prompt_view import PromptTokens, PromptView
from train_embedding.services.inspection.reference_vectors import ReferenceVectors, find_reference_vectors
from train_embedding.services.inspection.reports import EncoderReport, NearestToken, Neighbour, Report, VectorFigures, heat_map
from train_embedding.services.inspection.vocabularies import Vocabularies, Vocabulary
from train_embedding.services.library.create import check_text
from train_embedding.services.library.library import Library

if TYPE_CHECKING:
    import torch
    from PIL import Image

__all__ = ["Inspection", "PromptTokens", "Report"]

MAX_NEAREST = 100
"Largest number of nearest tokens, and of nearest embeddings, that can be requested."
MAX_COMPARED = 256
"""Largest number of vectors that are compared with each other and with all tokens. For SDXL, one core takes 1.1 s and 57 MB for
so many, and JSON of 1.6 MB; for 1,000 it would take 5.3 s, 240 MB, and 20 MB of JSON, which takes 6 s more."""

logger = logging.getLogger(__name__)


class Inspection:
    """Use cases about what is in an embedding or a prompt. Safe to call from any thread; changes nothing and needs no queue.

    Args:
        host: Has the loaded checkpoint.
        library: Has the embeddings.
        vocabularies: Of the same host, where other services use them too.
    """

    def __init__(self, host: Host, library: Library, vocabularies: Vocabularies | None = None) -> None:
        self._host = host
        self._library = library
        self._vocabularies = vocabularies or Vocabularies(host)
        self._prompts = PromptView(library)

    def inspect(self, name: str, top: int = 10, text: str = "", neighbours: int = 0) -> Report:
        """Report on an embedding in the library, and on its nearest ones there.

        Args:
            name: Of the embedding.
            top: As for `report_of`.
            text: As for `report_of`.
            neighbours: Number of nearest embeddings, 0…100; for any, every file of the family is read.

        Raises:
            NotFound: There is no such embedding.
            UnreadableFile: Its file cannot be read.
            InvalidInput: A number or the text is not allowed.
        """
        check_count("neighbours", neighbours)
        return self.report_of(self._library.read(name), top, text, neighbours)

    def report_of(self, embedding: Embedding, top: int = 10, text: str = "", neighbours: int = 0) -> Report:
        """Report on an embedding: figures of every vector, and its nearest words where the checkpoint has the text encoder.

        The report's warnings explain what could not be found out.

        Args:
            embedding: To be inspected.
            top: Number of nearest tokens per vector, 0…100.
            text: What to compare with, in place of what the embedding was initialized with.
            neighbours: As for `inspect`.

        Raises:
            InvalidInput: A number or the text is not allowed.
        """
        check_count("top", top)
        reference = find_reference_vectors(self._host, embedding, check_text(text))
        vocabularies, warnings = self._fitting(embedding)
        if embedding.count > MAX_COMPARED:
            top, warnings = 0, (*warnings, _too_many(embedding.count))
        encoders = tuple(
            _encoder_report(key, vectors, vocabularies.get(key), top, reference) for key, vectors in embedding.vectors.items()
        )
        found, unread = self._neighbours(embedding, neighbours) if neighbours else ((), ())
        return Report(
            name=embedding.name,
            family=embedding.family,
            count=embedding.count,
            widths=embedding.widths,
            step=embedding.step,
            checkpoint_name=embedding.checkpoint_name,
            checkpoint_hash=embedding.checkpoint_hash,
            metadata=embedding.metadata,
            reference=reference.description,
            encoders=encoders,
            neighbours=found,
            warnings=(*warnings, *filter(None, [reference.problem]), *unread),
        )

    def picture(self, report: Report) -> Image.Image:
        """Draw the similarity between the vectors as a heat map, one square per text encoder.

        Raises:
            NotFound: There are too many vectors.
        """
        if not report.compared:
            raise NotFound(f'There is no heat map of "{report.name}": {_too_many(report.count)}')
        return heat_map([encoder.similarity for encoder in report.encoders])

    def tokenize(self, prompt: str, negative: bool = False, step: int = 1, steps: int = 20) -> PromptTokens:
        """Split a prompt into tokens and chunks as the WebUI does, and find the embeddings in it.

        Args:
            prompt: As it is typed.
            negative: Whether it is the negative prompt, in which AND is a word.
            step: The sampling step, from 1, that prompt editing is applied for.
            steps: Number of sampling steps.

        Raises:
            InvalidInput: The prompt is too long, or a number is not allowed.
        """
        return self._prompts.tokenize(prompt, negative, step, steps)

    def _fitting(self, embedding: Embedding) -> tuple[dict[str, Vocabulary], tuple[str, ...]]:
        """Return the vocabularies of the embedding's text encoders that the checkpoint has, and why others are missing."""
        try:
            current = self._vocabularies.current()
        except HostFailed as error:
            return {}, (f"There are no nearest words: {error}",)
        fitting = {key: current[key] for key, width in embedding.widths.items() if key in current and current[key].width == width}
        missing = [f"{key} ({width})" for key, width in embedding.widths.items() if key not in fitting]
        if not missing:
            return fitting, ()
        loaded = " + ".join(f"{key} ({vocabulary.width})" for key, vocabulary in current.items())
        return fitting, (
            f"There are no nearest words for {' and '.join(missing)}: the loaded checkpoint has the text encoder {loaded}. "
            f"Load a checkpoint for {model_of(embedding.widths)}.",
        )

    def _neighbours(self, embedding: Embedding, count: int) -> tuple[tuple[Neighbour, ...], tuple[str, ...]]:
        from train_embedding.embeddings.formats import read_embedding
        from train_embedding.embeddings.measures import similarity

        found: list[Neighbour] = []
        unread = 0
        for entry in self._library.list():
            if entry.widths != embedding.widths or entry.name == embedding.name:
                continue
            try:
                other = read_embedding(entry.file)
            except (NotFound, UnreadableFile) as error:
                logger.warning("%s is not compared with: %s", entry.file, error)
                unread += 1
                continue
            alike = [similarity(vectors, other.vectors[key]) for key, vectors in embedding.vectors.items()]
            found.append(Neighbour(entry.name, other.count, sum(alike) / len(alike)))
        found.sort(key=lambda neighbour: (-neighbour.similarity, neighbour.name))
        sentence = f"{unread} of the embeddings could not be read; the log says why."
        return tuple(found[:count]), (sentence,) if unread else ()


def check_count(what: str, count: object) -> int:
    """Return the number.

    Raises:
        InvalidInput: It is not a whole number from 0 to MAX_NEAREST.
    """
    if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count <= MAX_NEAREST:
        raise InvalidInput(f'"{what}" is {count!r}; it must be a whole number from 0 to {MAX_NEAREST}.')
    return count


def _too_many(count: int) -> str:
    return f"Nearest words and the similarity are left out for {count} vectors; at most {MAX_COMPARED} are compared."


def _encoder_report(
    key: str, vectors: torch.Tensor, vocabulary: Vocabulary | None, top: int, reference: ReferenceVectors
) -> EncoderReport:
    """vectors: [n, d]."""
    from train_embedding.embeddings.measures import cosine_of_all, cosine_of_each, cosines, norms, numbers

    start = (reference.vectors or {}).get(key)
    figures = zip(
        numbers(norms(vectors)),
        numbers(vectors.amin(1)),
        numbers(vectors.amax(1)),
        _nearest_words(vectors, vocabulary, top),
        [None] * len(vectors) if start is None else numbers(cosine_of_each(vectors, start)),
        strict=True,
    )
    return EncoderReport(
        key=key,
        width=vectors.shape[1],
        vectors=tuple(VectorFigures(*values) for values in figures),
        similarity=tuple(tuple(row) for row in numbers(cosines(vectors, vectors))) if len(vectors) <= MAX_COMPARED else (),
        vocabulary_norm=None if vocabulary is None else vocabulary.lengths.mean,
        vocabulary_spread=None if vocabulary is None else vocabulary.lengths.spread,
        reference_cosine=None if start is None else cosine_of_all(vectors, start),
    )


def _nearest_words(vectors: torch.Tensor, vocabulary: Vocabulary | None, top: int) -> list[tuple[NearestToken, ...]]:
    """Find the nearest words of each vector; none for a vector of zeros, which has no direction."""
    from train_embedding.embeddings.measures import numbers
    from train_embedding.engine.prompts.tokenizer import token_text

    if vocabulary is None or not top:
        return [()] * len(vectors)
    found = vocabulary.nearest(vectors, top)
    return [
        tuple(NearestToken(token, token_text(token), cosine) for token, cosine in zip(ids, values, strict=True)) if some else ()
        for ids, values, some in zip(found.ids, found.cosines, numbers(vectors.any(1)), strict=True)
    ]
