"""Use cases about making embeddings from others: by a formula, or by conversion to another format or family."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.metadata import MADE_FROM
from train_embedding.embeddings.names import check_name
from train_embedding.errors import Conflict, InvalidInput
from train_embedding.hosts.base import Host, Txt2ImgRequest
from train_embedding.messages import Message, joined, msg
from train_embedding.services.combining.targets import CONVERTIBLE_FORMATS, SDXL, UNNAMED
from train_embedding.services.combining.to_sdxl import to_sdxl
from train_embedding.services.inspection.vocabularies import Vocabularies
from train_embedding.services.library.entries import Entry
from train_embedding.services.library.library import Library
from train_embedding.services.loaded_checkpoint import check_fits
from train_embedding.services.waiting import in_turn

if TYPE_CHECKING:
    from collections.abc import Iterable

    from PIL import Image

PREVIEW_PROMPT = "[name]"
PREVIEW_STEPS = 20


@dataclass(frozen=True)
class Combined:
    """A result that is not saved yet."""

    embedding: Embedding
    how: str
    "The formula."
    notes: tuple[Message, ...]
    "Notes about the computation."


@dataclass(frozen=True)
class Saved:
    """A result in the library."""

    entry: Entry
    notes: tuple[Message, ...]
    "Notes about the computation, and warnings about the name."


class Combining:
    """Use cases about making embeddings from others. Safe to call from any thread.

    Args:
        host: The host with the loaded checkpoint.
        library: The library with the embeddings.
        vocabularies: The vocabularies of the same host, if other services share them.
    """

    def __init__(self, host: Host, library: Library, vocabularies: Vocabularies | None = None) -> None:
        self._host = host
        self._library = library
        self._vocabularies = vocabularies or Vocabularies(host)

    def evaluate(self, expression: str, name: str = UNNAMED) -> Combined:
        """Compute a formula; `embeddings.expression` describes its grammar.

        Args:
            expression: The formula.
            name: The name of the result.

        Raises:
            InvalidExpression: The formula is invalid; the error has the column.
            InvalidName: The name cannot be used.
            UnreadableFile: An embedding's file cannot be read.
            Conflict: The formula contains words, and the loaded checkpoint is of another family.
            HostFailed: The formula needs a checkpoint, and none is loaded.
        """
        from train_embedding.embeddings.expression.calculation import Calculation
        from train_embedding.embeddings.expression.parser import parse
        from train_embedding.services.combining.formula_sources import FormulaSources

        if not isinstance(expression, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # what front ends pass
            raise InvalidInput(msg("The formula must be text, not {type}.", type=type(expression).__name__))
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
            TrainEmbeddingError: The errors of `evaluate`.
        """
        return self.keep(self.evaluate(expression, name), overwrite)

    def check_free(self, name: str, overwrite: bool = False) -> None:
        """Fail early if a result cannot be saved under a name.

        Raises:
            InvalidName: The name cannot be used.
            Conflict: The name is taken, and `overwrite` is false.
        """
        self._library.check_free(name, overwrite)

    def keep(self, combined: Combined, overwrite: bool = False) -> Saved:
        """Save a result in the library under its name.

        Raises:
            Conflict: The name is taken, and `overwrite` is false.
            StorageFailed: The file cannot be written.
        """
        return self._save(combined.embedding, combined.notes, overwrite)

    def convert(self, name: str, to: str, new_name: str = "", overwrite: bool = False) -> Saved:
        """Convert an embedding to another format, or to SDXL.

        Args:
            name: The embedding.
            to: One of CONVERTIBLE_FORMATS, or "sdxl".
            new_name: The name of the result. If empty, a file in another format replaces the old file, which goes to the trash,
                and an SDXL embedding is named NAME-sdxl.
            overwrite: Whether to replace an embedding with the new name.

        Raises:
            InvalidInput: `to` is unknown, or the host does not load such files.
            InvalidName: The new name cannot be used.
            NotFound: There is no such embedding.
            UnreadableFile: Its file cannot be read.
            Conflict: It already has that format, the new name is taken, or it cannot be converted to SDXL with the loaded
                checkpoint.
            HostFailed: No checkpoint is loaded.
            StorageFailed: The file cannot be written.
        """
        if to not in (SDXL, *CONVERTIBLE_FORMATS):
            raise InvalidInput(
                msg('An embedding cannot be converted to "{target}".', target=to),
                msg("Use one of {names}.", names=joined([SDXL, *CONVERTIBLE_FORMATS])),
            )
        embedding = self._library.read(name)
        name = embedding.name  # may differ from the typed name in its Unicode form
        if to == SDXL:
            converted, notes = to_sdxl(embedding, self._vocabularies)
            return self._save(replace(converted, name=new_name or f"{name}-{SDXL}"), notes, overwrite)
        self._library.check_loadable(CONVERTIBLE_FORMATS[to])
        old = self._library.get(name).file
        if not new_name and old.suffix.lower() == CONVERTIBLE_FORMATS[to]:
            raise Conflict(msg('"{file}" already has that format.', file=old.name), msg("Enter a new name to make a copy."))
        replaced = replace(embedding, name=new_name or name)
        entry = self._library.save(
            replaced, file=self._library.place(replaced.name, CONVERTIBLE_FORMATS[to]), overwrite=overwrite or not new_name
        )
        return Saved(entry, tuple(self._library.warnings_for_name(entry.name)) if new_name else ())

    def draw(self, embedding: Embedding, prompt: str = PREVIEW_PROMPT, seed: int = 1, steps: int = PREVIEW_STEPS) -> Image.Image:
        """Generate an image with an embedding, which need not be in the library, after waiting for the host's queue.

        Args:
            embedding: The embedding.
            prompt: The prompt, in which `[name]` stands for the embedding. If the name is not in it, it is prepended.
            seed: The seed of the noise.
            steps: Number of sampling steps.

        Raises:
            HostFailed: No checkpoint is loaded, or the host could not generate the image.
            Conflict: The embedding is for another model family than the loaded checkpoint.
            Busy: Too many requests are waiting for the host's queue.
        """
        info = self._host.info()
        check_fits(embedding.name, embedding.widths, info)
        text = prompt.replace("[name]", embedding.name)
        if embedding.name not in text:
            text = f"{embedding.name}, {text}"
        request = Txt2ImgRequest(
            text, steps=steps, seed=seed, width=info.resolution, height=info.resolution, embeddings=(embedding,)
        )
        with in_turn(self._host, f"Preview of {embedding.name}"):
            return self._host.txt2img(request)

    def _save(self, embedding: Embedding, notes: tuple[Message, ...], overwrite: bool) -> Saved:
        # The WebUI's own format cannot hold metadata together with vectors for two text encoders.
        file = self._library.place(embedding.name, CONVERTIBLE_FORMATS["safetensors"]) if len(embedding.vectors) > 1 else None
        entry = self._library.save(embedding, file=file, overwrite=overwrite)
        return Saved(entry, (*notes, *self._library.warnings_for_name(entry.name)))


def _common(values: Iterable[str | None]) -> str | None:
    """Return the value that all have in common; None if they differ."""
    different = set(values)
    return different.pop() if len(different) == 1 else None
