"""Inspection: an embedding's figures, its nearest tokens and embeddings, and the tokens of a prompt."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.text_encoders import model_of
from train_embedding.errors import HostFailed, InvalidInput, NotFound, UnreadableFile
from train_embedding.hosts.base import Host
from train_embedding.messages import Message, msg, plural
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
    """Use cases about the contents of embeddings and prompts. Safe to call from any thread; changes nothing, needs no queue.

    Args:
        host: The host with the loaded checkpoint.
        library: The library that holds the embeddings.
        vocabularies: The vocabularies of the same host, if other services share them.
    """

    def __init__(self, host: Host, library: Library, vocabularies: Vocabularies | None = None) -> None:
        self._host = host
        self._library = library
        self._vocabularies = vocabularies or Vocabularies(host)
        self._prompts = PromptView(library)

    def inspect(self, name: str, top: int = 10, text: str = "", neighbours: int = 0) -> Report:
        """Report on an embedding in the library, and on similar embeddings there.

        Args:
            name: The embedding.
            top: As for `report_of`.
            text: As for `report_of`.
            neighbours: Number of nearest embeddings, 0…100. If it is not 0, every file of the same family is read.

        Raises:
            NotFound: There is no such embedding.
            UnreadableFile: Its file cannot be read.
            InvalidInput: A number or the text is not allowed.
        """
        check_count("neighbours", neighbours)
        return self.report_of(self._library.read(name), top, text, neighbours)

    def report_of(self, embedding: Embedding, top: int = 10, text: str = "", neighbours: int = 0) -> Report:
        """Report on an embedding: figures of every vector, and its nearest tokens if the checkpoint has the text encoder.

        The warnings of the report explain what is missing in it.

        Args:
            embedding: The embedding.
            top: Number of nearest tokens per vector, 0…100.
            text: A text to compare with instead of the init text.
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

    def heat_map(self, report: Report) -> Image.Image:
        """Draw the similarity between the vectors as a heat map, one square per text encoder.

        Raises:
            NotFound: There are too many vectors.
        """
        if not report.compared:
            raise NotFound(msg('There is no heat map of "{name}". {reason}', name=report.name, reason=_too_many(report.count)))
        return heat_map([encoder.similarity for encoder in report.encoders])

    def tokenize(self, prompt: str, negative: bool = False, step: int = 1, steps: int = 20) -> PromptTokens:
        """Split a prompt into tokens and chunks as the WebUI does, and find the embeddings in it.

        Args:
            prompt: The prompt as typed.
            negative: Whether it is a negative prompt, in which AND is a plain word.
            step: The sampling step at which prompt editing is applied, from 1.
            steps: Number of sampling steps.

        Raises:
            InvalidInput: The prompt is too long, or a number is not allowed.
        """
        return self._prompts.tokenize(prompt, negative, step, steps)

    def _fitting(self, embedding: Embedding) -> tuple[dict[str, Vocabulary], tuple[Message, ...]]:
        """Return the vocabularies of the embedding's text encoders that the checkpoint has, and why others are missing."""
        try:
            current = self._vocabularies.current()
        except HostFailed as error:
            return {}, (msg("There are no nearest tokens. {reason}", reason=error.text),)
        fitting = {key: current[key] for key, width in embedding.widths.items() if key in current and current[key].width == width}
        missing = [f"{key} ({width})" for key, width in embedding.widths.items() if key not in fitting]
        if not missing:
            return fitting, ()
        loaded = " + ".join(f"{key} ({vocabulary.width})" for key, vocabulary in current.items())
        return fitting, (
            msg(
                "There are no nearest tokens for {missing}: the loaded checkpoint has {loaded}. Load a checkpoint for {model}.",
                missing=" + ".join(missing),
                loaded=loaded,
                model=model_of(embedding.widths),
            ),
        )

    def _neighbours(self, embedding: Embedding, count: int) -> tuple[tuple[Neighbour, ...], tuple[Message, ...]]:
        """Return the nearest embeddings in the library, and a warning if some could not be read."""
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
                logger.warning("%s is not compared: %s", entry.file, error)
                unread += 1
                continue
            alike = [similarity(vectors, other.vectors[key]) for key, vectors in embedding.vectors.items()]
            found.append(Neighbour(entry.name, other.count, sum(alike) / len(alike)))
        found.sort(key=lambda neighbour: (-neighbour.similarity, neighbour.name))
        warning = plural(
            "{count} embedding could not be read; see the log.", "{count} embeddings could not be read; see the log.", unread
        )
        return tuple(found[:count]), (warning,) if unread else ()


def check_count(what: str, count: object) -> int:
    """Return a number unchanged.

    Args:
        what: The name of the number, for the error.
        count: The number.

    Raises:
        InvalidInput: It is not a whole number from 0 to MAX_NEAREST.
    """
    if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count <= MAX_NEAREST:
        raise InvalidInput(
            msg(
                '"{name}" is {value}; it must be a whole number from {low} to {high}.',
                name=what,
                value=repr(count),
                low=0,
                high=MAX_NEAREST,
            )
        )
    return count


def _too_many(count: int) -> Message:
    return msg(
        "The embedding has {vectors} vectors; nearest tokens and similarity are shown for at most {limit}.",
        vectors=count,
        limit=MAX_COMPARED,
    )


def _encoder_report(
    key: str, vectors: torch.Tensor, vocabulary: Vocabulary | None, top: int, reference: ReferenceVectors
) -> EncoderReport:
    """Report on the vectors [n, d] for one text encoder."""
    from train_embedding.embeddings.measures import cosine_of_all, cosine_of_each, cosines, norms, numbers

    start = (reference.vectors or {}).get(key)
    figures = zip(
        numbers(norms(vectors)),
        numbers(vectors.amin(1)),
        numbers(vectors.amax(1)),
        _nearest_tokens(vectors, vocabulary, top),
        [None] * len(vectors) if start is None else numbers(cosine_of_each(vectors, start)),
        strict=True,
    )
    return EncoderReport(
        key=key,
        width=vectors.shape[1],
        vectors=tuple(VectorFigures(*values) for values in figures),
        similarity=tuple(tuple(row) for row in numbers(cosines(vectors, vectors))) if len(vectors) <= MAX_COMPARED else (),
        vocabulary_norm=None if vocabulary is None else vocabulary.norms.mean,
        vocabulary_spread=None if vocabulary is None else vocabulary.norms.spread,
        reference_cosine=None if start is None else cosine_of_all(vectors, start),
    )


def _nearest_tokens(vectors: torch.Tensor, vocabulary: Vocabulary | None, top: int) -> list[tuple[NearestToken, ...]]:
    """Find the nearest tokens of each vector; none for a zero vector, which has no direction."""
    from train_embedding.embeddings.measures import numbers
    from train_embedding.engine.prompts.tokenizer import token_text

    if vocabulary is None or not top:
        return [()] * len(vectors)
    found = vocabulary.nearest(vectors, top)
    return [
        tuple(NearestToken(token, token_text(token), cosine) for token, cosine in zip(ids, values, strict=True)) if some else ()
        for ids, values, some in zip(found.ids, found.cosines, numbers(vectors.any(1)), strict=True)
    ]
