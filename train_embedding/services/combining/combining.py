"""Embeddings made of others: by a formula, or converted to another format or family."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.metadata import MADE_FROM
from train_embedding.embeddings.names import check_name
from train_embedding.embeddings.text_encoders import does_not_fit
from train_embedding.errors import Conflict, HostFailed, InvalidInput
from train_embedding.hosts.base import Host, Txt2ImgRequest
from train_embedding.services.combining.to_sdxl import to_sdxl
from train_embedding.services.inspection.vocabularies import Vocabularies
from train_embedding.services.library.entries import Entry
from train_embedding.services.library.library import Library
from train_embedding.services.waiting import in_turn

if TYPE_CHECKING:
    from collections.abc import Iterable

    from PIL import Image

UNNAMED = "combined"
"The name of a result that has not been given one."
SDXL = "sdxl"
CONVERTIBLE_FORMATS = {"pt": ".pt", "safetensors": ".safetensors", "png": ".png", "webp": ".webp"}
"""What `convert` can make besides an embedding for SDXL, and the suffix of its file: what hosts read from their own folder. The
last two are pictures that carry the vectors, as a text and in their pixels."""
PREVIEW_PROMPT = "[name]"
PREVIEW_STEPS = 20


@dataclass(frozen=True)
class Combined:
    """A result that is not saved yet."""

    embedding: Embedding
    how: str
    "The formula."
    notes: tuple[str, ...]
    "Sentences for the person who made it."


@dataclass(frozen=True)
class Saved:
    """A result in the library."""

    entry: Entry
    notes: tuple[str, ...]
    "Sentences for the person who made it."


class Combining:
    """Use cases about making embeddings from others. Safe to call from any thread.

    Args:
        host: Has the loaded checkpoint and generates previews.
        library: Has the embeddings, and takes the results.
        vocabularies: As for `Inspection`.
    """

    def __init__(self, host: Host, library: Library, vocabularies: Vocabularies | None = None) -> None:
        self._host = host
        self._library = library
        self._vocabularies = vocabularies or Vocabularies(host)

    def evaluate(self, expression: str, name: str = UNNAMED) -> Combined:
        """Compute a formula, whose grammar is in `embeddings.expression`.

        Args:
            expression: The formula.
            name: Of the result.

        Raises:
            InvalidExpression: The formula is wrong; the error has the column.
            InvalidName: The name cannot be that of an embedding.
            UnreadableFile: An embedding's file cannot be read.
            Conflict: The formula has words, and the loaded checkpoint is of another family.
            HostFailed: The formula needs a checkpoint, and none is loaded.
        """
        from train_embedding.embeddings.expression.calculation import Calculation
        from train_embedding.embeddings.expression.parser import parse
        from train_embedding.services.combining.formula_sources import FormulaSources

        if not isinstance(expression, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # what front ends hand on
            raise InvalidInput(f"The formula must be text, not {type(expression).__name__}.")
        check_name(name)
        tree = parse(expression)
        sources = FormulaSources(self._host, self._library, self._vocabularies, expression, tree)
        calculation = Calculation(expression, sources)
        vectors = calculation.result(tree)
        used = sources.embeddings.values()
        how = " ".join(expression.split())
        combined = Embedding(
            name,
            dict(vectors),
            checkpoint_name=_common(embedding.checkpoint_name for embedding in used),
            checkpoint_hash=_common(embedding.checkpoint_hash for embedding in used),
            metadata={MADE_FROM: how},
        )
        return Combined(combined, how, tuple(calculation.notes))

    def save(self, expression: str, name: str, overwrite: bool = False) -> Saved:
        """Compute a formula and save the result in the library.

        Raises:
            Conflict: The name is taken, and `overwrite` is false.
            StorageFailed: The file cannot be written.
            TrainEmbeddingError: What `evaluate` raises.
        """
        return self.keep(self.evaluate(expression, name), overwrite)

    def check_free(self, name: str, overwrite: bool = False) -> None:
        """Check, before the work, that a result can be saved under a name.

        Raises:
            InvalidName: The name cannot be that of an embedding.
            Conflict: The name is taken, and `overwrite` is false.
        """
        self._library.check_free(name, overwrite)

    def keep(self, combined: Combined, overwrite: bool = False) -> Saved:
        """Save a result in the library, under the name that it was computed with.

        Raises:
            Conflict: The name is taken, and `overwrite` is false.
            StorageFailed: The file cannot be written.
        """
        return self._save(combined.embedding, combined.notes, overwrite)

    def convert(self, name: str, to: str, new_name: str = "", overwrite: bool = False) -> Saved:
        """An embedding as a file of another format, one of CONVERTIBLE_FORMATS, or as one for SDXL, "sdxl".

        new_name: left out, a file of another format replaces the old one, which goes to the trash, and one for SDXL is called
        NAME-sdxl. Raises InvalidInput for any other `to`, NotFound, UnreadableFile, InvalidName, StorageFailed, HostFailed,
        Conflict where it has that format already, the new name is taken, or it is not for SD1 or no SDXL checkpoint is loaded.
        """
        if to not in (SDXL, *CONVERTIBLE_FORMATS):
            raise InvalidInput(
                f'An embedding cannot be made "{to}".', f"Choose one of {', '.join([SDXL, *CONVERTIBLE_FORMATS])}."
            )
        embedding = self._library.read(name)
        name = embedding.name  # which may be another Unicode form of what was typed
        if to == SDXL:
            converted, notes = to_sdxl(embedding, self._vocabularies)
            return self._save(replace(converted, name=new_name or f"{name}-{SDXL}"), notes, overwrite)
        old = self._library.get(name).file
        if not new_name and old.suffix.lower() == CONVERTIBLE_FORMATS[to]:
            raise Conflict(f'"{old.name}" has that format already.', "Give a new name for a copy of it.")
        replaced = replace(embedding, name=new_name or name)
        entry = self._library.save(
            replaced, file=self._library.place(replaced.name, CONVERTIBLE_FORMATS[to]), overwrite=overwrite or not new_name
        )
        return Saved(entry, tuple(self._library.warnings_for_name(entry.name)) if new_name else ())

    def draw(self, embedding: Embedding, prompt: str = PREVIEW_PROMPT, seed: int = 1, steps: int = PREVIEW_STEPS) -> Image.Image:
        """A picture of what the embedding does, whether a file holds it or not; waits for the host's queue.

        prompt: `[name]` in it is the embedding; where it names it nowhere, it is put in front. Raises HostFailed, and Conflict
        where the embedding is not for the loaded checkpoint.
        """
        info = self._host.info()
        if not info.widths:
            raise HostFailed("No checkpoint is loaded.", "Load one, then draw.")
        if embedding.widths != info.widths:
            raise Conflict(does_not_fit(embedding.name, embedding.widths, info.widths), "Load a checkpoint of that kind.")
        text = prompt.replace("[name]", embedding.name)
        if embedding.name not in text:
            text = f"{embedding.name}, {text}"
        request = Txt2ImgRequest(
            text, steps=steps, seed=seed, width=info.resolution, height=info.resolution, embeddings=(embedding,)
        )
        with in_turn(self._host, f"Preview of {embedding.name}"):
            return self._host.txt2img(request)

    def _save(self, embedding: Embedding, notes: tuple[str, ...], overwrite: bool) -> Saved:
        # The WebUI's own format has no room for metadata beside vectors for two text encoders.
        file = self._library.place(embedding.name, CONVERTIBLE_FORMATS["safetensors"]) if len(embedding.vectors) > 1 else None
        entry = self._library.save(embedding, file=file, overwrite=overwrite)
        return Saved(entry, (*notes, *self._library.warnings_for_name(entry.name)))


def _common(values: Iterable[str | None]) -> str | None:
    """Return the value that all have; None where they differ."""
    different = set(values)
    return different.pop() if len(different) == 1 else None
