"""Vectors for a formula: of embeddings in the library, and of words in the loaded checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.expression.nodes import EmbeddingName, Node, nodes_of
from train_embedding.embeddings.names import did_you_mean
from train_embedding.embeddings.text_encoders import model_of
from train_embedding.errors import Conflict, InvalidExpression, NotFound
from train_embedding.hosts.base import Host
from train_embedding.messages import Message, msg
from train_embedding.services.inspection.vocabularies import Vocabularies
from train_embedding.services.library.library import Library
from train_embedding.services.loaded_checkpoint import LOAD_MATCHING, loaded_widths

if TYPE_CHECKING:
    import torch


class FormulaSources:
    """The vectors of one formula, for the text encoders of its embeddings, or of the checkpoint if it has no embeddings.

    Args:
        host: The host with the loaded checkpoint.
        library: The library with the embeddings.
        vocabularies: The vocabularies of the loaded checkpoint.
        expression: The formula as typed, for messages.
        tree: The parsed formula.

    Raises:
        InvalidExpression: An embedding does not exist, or is for another family than the others.
        UnreadableFile: An embedding's file cannot be read.
        HostFailed: The formula has no embeddings, and no checkpoint is loaded.
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
        loaded = {key: table.shape[1] for key, table in tables.items()}
        if not self._fits(loaded):
            message = msg(
                'The words "{text}" cannot be looked up for {model}: the loaded checkpoint is {loaded}.',
                text=text,
                model=model_of(self._widths),
                loaded=model_of(loaded),
            )
            raise Conflict(message, LOAD_MATCHING)
        return {key: tables[key].float() for key in self._widths}

    def usual_norms(self) -> dict[str, float]:
        """Return the mean norm of all token embeddings per text encoder.

        Raises:
            HostFailed: No checkpoint is loaded.
            Conflict: The checkpoint has other text encoders than the embeddings.
        """
        current = self._vocabularies.current()
        loaded = {key: vocabulary.width for key, vocabulary in current.items()}
        if not self._fits(loaded):
            message = msg(
                "The mean norm of the vocabulary is not known for {model}: the loaded checkpoint is {loaded}.",
                model=model_of(self._widths),
                loaded=model_of(loaded),
            )
            raise Conflict(message, LOAD_MATCHING)
        return {key: current[key].norms.mean for key in self._widths}

    def _fits(self, loaded: Mapping[str, int]) -> bool:
        """Whether the loaded checkpoint has the text encoders of the formula."""
        return all(loaded.get(key) == width for key, width in self._widths.items())

    def _read(self, node: EmbeddingName) -> Embedding:
        try:
            return self._library.read(node.name)
        except NotFound as error:
            message = msg('there is no embedding "{name}".', name=node.name)
            raise InvalidExpression(message, self._hint(node.name), expression=self._expression, column=node.column) from error

    def _hint(self, name: str) -> Message:
        if any(sign in name for sign in "+-"):
            return msg('Put spaces around + and -: without spaces, "{name}" is a single name.', name=name)
        near = did_you_mean(name, (entry.name for entry in self._library.list()))
        return near or msg('To use the word, write it in double quotes: "{name}".', name=name)

    def _common_widths(self, names: list[EmbeddingName]) -> dict[str, int]:
        if not names:
            return loaded_widths(self._host.info())
        first = self.embeddings[names[0].name]
        for node in names:
            other = self.embeddings[node.name]
            if other.widths != first.widths:
                raise InvalidExpression(
                    msg(
                        '"{name}" is for {model}, but "{first}" is for {first_model}.',
                        name=other.name,
                        model=model_of(other.widths),
                        first=first.name,
                        first_model=model_of(first.widths),
                    ),
                    msg("Combine embeddings for the same model family. SD1 embeddings can be converted to SDXL."),
                    expression=self._expression,
                    column=node.column,
                )
        return first.widths
