"""The vectors that a formula names: of embeddings in the library and of words in the loaded checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.expression.nodes import EmbeddingName, Node, nodes_of
from train_embedding.embeddings.names import did_you_mean
from train_embedding.embeddings.text_encoders import model_of
from train_embedding.errors import Conflict, HostFailed, InvalidExpression, NotFound
from train_embedding.hosts.base import Host
from train_embedding.services.inspection.vocabularies import Vocabularies
from train_embedding.services.library.library import Library

if TYPE_CHECKING:
    import torch


class FormulaSources:
    """The sources of one formula, all for the same text encoders: those of the embeddings in it, or else of the checkpoint.

    Args:
        host: Looks up words with the loaded checkpoint.
        library: Has the embeddings.
        vocabularies: Of the loaded checkpoint.
        expression: The formula as it was typed, for messages.
        tree: The parsed formula.

    Raises:
        InvalidExpression: There is no embedding of a name, or it is of another family than the others.
        UnreadableFile: An embedding's file cannot be read.
        HostFailed: The formula has no embedding, and no checkpoint is loaded.
    """

    def __init__(self, host: Host, library: Library, vocabularies: Vocabularies, expression: str, tree: Node) -> None:
        self._host = host
        self._library = library
        self._vocabularies = vocabularies
        self._expression = expression
        self.embeddings: dict[str, Embedding] = {}
        names = [node for node in nodes_of(tree) if isinstance(node, EmbeddingName)]
        for node in names:
            if node.name not in self.embeddings:
                self.embeddings[node.name] = self._read(node)
        self._widths = self._common_widths(names)

    def embedding(self, name: str) -> Mapping[str, torch.Tensor]:
        """Return the vectors of an embedding in the formula, [n, d] per text encoder."""
        return self.embeddings[name].vectors

    def token_embeddings(self, text: str) -> Mapping[str, torch.Tensor]:
        """Return the token embeddings of a text, [n, d] per text encoder.

        Raises:
            HostFailed: No checkpoint is loaded.
            Conflict: The checkpoint has other text encoders than the embeddings.
        """
        tables = self._host.token_embeddings(text)
        self._check({key: table.shape[1] for key, table in tables.items()}, f'The words "{text}"')
        return {key: tables[key].float() for key in self._widths}

    def usual_norms(self) -> dict[str, float]:
        """Return the mean norm of all token embeddings per text encoder.

        Raises:
            HostFailed: No checkpoint is loaded.
            Conflict: The checkpoint has other text encoders than the embeddings.
        """
        current = self._vocabularies.current()
        self._check({key: vocabulary.width for key, vocabulary in current.items()}, "The usual norm of words")
        return {key: current[key].lengths.mean for key in self._widths}

    def _check(self, loaded: dict[str, int], what: str) -> None:
        if any(loaded.get(key) != width for key, width in self._widths.items()):
            message = f"{what} cannot be looked up for {model_of(self._widths)}: the loaded checkpoint is {model_of(loaded)}."
            raise Conflict(message, "Load a checkpoint of that kind.")

    def _read(self, node: EmbeddingName) -> Embedding:
        try:
            return self._library.read(node.name)
        except NotFound as error:
            message = f'no embedding named "{node.name}".'
            raise InvalidExpression(message, self._hint(node.name), expression=self._expression, column=node.column) from error

    def _hint(self, name: str) -> str:
        if any(sign in name for sign in "+-"):
            return f'For a sum or difference put spaces around the sign: "{name}" without spaces is one name.'
        near = did_you_mean(name, (entry.name for entry in self._library.list()))
        return near or f'The word of that name is written in double quotes, "{name}".'

    def _common_widths(self, names: list[EmbeddingName]) -> dict[str, int]:
        if not names:
            widths = self._host.info().widths
            if not widths:
                raise HostFailed("No checkpoint is loaded, so there are no words to look up.", "Load one first.")
            return widths
        first = self.embeddings[names[0].name]
        for node in names:
            other = self.embeddings[node.name]
            if other.widths != first.widths:
                raise InvalidExpression(
                    f'"{other.name}" is for {model_of(other.widths)}, and "{first.name}" for {model_of(first.widths)}.',
                    "Embeddings of one family can be combined; convert makes SDXL of SD1.",
                    expression=self._expression,
                    column=node.column,
                )
        return first.widths
