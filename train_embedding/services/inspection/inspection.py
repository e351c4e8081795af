"""Looking inside: an embedding's figures, its nearest words and embeddings; and how a prompt falls into tokens."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.text_encoders import model_of
from train_embedding.errors import HostFailed, InvalidInput, NotFound, UnreadableFile
from train_embedding.hosts.base import Host
from train_embedding.services.inspection.prompt_view import PromptTokens, PromptView
from train_embedding.services.inspection.reference_vectors import Origin, origin_of
from train_embedding.services.inspection.reports import EncoderReport, Near, Neighbour, Report, VectorFigures
from train_embedding.services.inspection.vocabularies import Vocabularies, Vocabulary
from train_embedding.services.library.create import check_text
from train_embedding.services.library.library import Library

if TYPE_CHECKING:
    import torch
    from PIL import Image

__all__ = ["Inspection", "PromptTokens", "Report"]

MOST = 100
"Nearest tokens, and nearest embeddings, that can be asked for."
MAX_COMPARED = 256
"""Vectors that are compared with one another and with all words. For SDXL, one core takes 1.1 s and 57 MB for so many, and JSON
of 1.6 MB; for 1,000 it would take 5.3 s, 240 MB, and 20 MB of JSON, which takes 6 s more."""

logger = logging.getLogger(__name__)


class Inspection:
    """Use cases about what is in an embedding or a prompt. Safe to call from any thread; changes nothing, and needs no queue.

    vocabularies: of the same host, where others use them too.
    """

    def __init__(self, host: Host, library: Library, vocabularies: Vocabularies | None = None) -> None:
        self._host = host
        self._library = library
        self._vocabularies = vocabularies or Vocabularies(host)
        self._prompts = PromptView(library)

    def inspect(self, name: str, top: int = 10, text: str = "", neighbours: int = 0) -> Report:
        """What `report_of` says of an embedding in the library, and its nearest ones there.

        neighbours: how many, 0…100; for any, every file of the family is read. Raises NotFound, UnreadableFile, InvalidInput.
        """
        checked_count("neighbours", neighbours)
        return self.report_of(self._library.read(name), top, text, neighbours)

    def report_of(self, embedding: Embedding, top: int = 10, text: str = "", neighbours: int = 0) -> Report:
        """Figures of every vector, beside the vocabulary and with the nearest words where the checkpoint has the text encoder.

        top: nearest tokens per vector, 0…100. text: what to compare with in place of what the embedding came from.
        What cannot be said is explained in the report's remarks. Raises InvalidInput.
        """
        checked_count("top", top)
        origin = origin_of(self._host, embedding, check_text(text))
        vocabularies, remarks = self._fitting(embedding)
        if embedding.count > MAX_COMPARED:
            top, remarks = 0, (*remarks, _too_many(embedding.count))
        encoders = tuple(
            _encoder_report(key, vectors, vocabularies.get(key), top, origin) for key, vectors in embedding.vectors.items()
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
            origin=origin.words,
            encoders=encoders,
            neighbours=found,
            remarks=(*remarks, *filter(None, [origin.problem]), *unread),
        )

    def picture(self, report: Report) -> Image.Image:
        """The similarity between the vectors as a heat map, one square per text encoder. Raises NotFound for too many vectors."""
        from train_embedding.services.inspection.heat_map import heat_map

        if not report.compared:
            raise NotFound(f'There is no picture of "{report.name}": {_too_many(report.count)}')
        return heat_map([encoder.similarity for encoder in report.encoders])

    def tokenize(self, prompt: str, negative: bool = False, step: int = 1, steps: int = 20) -> PromptTokens:
        """How the WebUI splits a prompt into tokens and chunks, and which of it are embeddings. Raises InvalidInput."""
        return self._prompts.tokenize(prompt, negative, step, steps)

    def _fitting(self, embedding: Embedding) -> tuple[dict[str, Vocabulary], tuple[str, ...]]:
        """The vocabularies of the embedding's text encoders that the loaded checkpoint has, and why not the others."""
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
        from train_embedding.embeddings.measures import likeness

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
            alike = [likeness(vectors, other.vectors[key]) for key, vectors in embedding.vectors.items()]
            found.append(Neighbour(entry.name, other.count, sum(alike) / len(alike)))
        found.sort(key=lambda neighbour: (-neighbour.likeness, neighbour.name))
        sentence = f"{unread} of the embeddings could not be read; the log says why."
        return tuple(found[:count]), (sentence,) if unread else ()


def checked_count(what: str, count: object) -> int:
    """Raises InvalidInput unless it is a whole number from 0 to MOST."""
    if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count <= MOST:
        raise InvalidInput(f'"{what}" is {count!r}; it must be a whole number from 0 to {MOST}.')
    return count


def _too_many(count: int) -> str:
    return f"Nearest words and the similarity are left out for {count} vectors; at most {MAX_COMPARED} are compared."


def _encoder_report(key: str, vectors: torch.Tensor, vocabulary: Vocabulary | None, top: int, origin: Origin) -> EncoderReport:
    """vectors: [n, d]."""
    from train_embedding.embeddings.measures import cosine_of_all, cosine_of_each, cosines, norms, numbers

    start = (origin.vectors or {}).get(key)
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
        vectors=tuple(VectorFigures(*one) for one in figures),
        similarity=tuple(tuple(row) for row in numbers(cosines(vectors, vectors))) if len(vectors) <= MAX_COMPARED else (),
        vocabulary_norm=None if vocabulary is None else vocabulary.lengths.mean,
        vocabulary_spread=None if vocabulary is None else vocabulary.lengths.spread,
        to_origin=None if start is None else cosine_of_all(vectors, start),
    )


def _nearest_words(vectors: torch.Tensor, vocabulary: Vocabulary | None, top: int) -> list[tuple[Near, ...]]:
    """Per vector; none for a vector of zeros, which points nowhere."""
    from train_embedding.embeddings.measures import numbers
    from train_embedding.engine.prompts.tokenizer import token_text

    if vocabulary is None or not top:
        return [()] * len(vectors)
    found = vocabulary.nearest(vectors, top)
    return [
        tuple(Near(token, token_text(token), cosine) for token, cosine in zip(ids, values, strict=True)) if some else ()
        for ids, values, some in zip(found.ids, found.cosines, numbers(vectors.any(1)), strict=True)
    ]
