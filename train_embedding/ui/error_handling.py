"""The edge of the tab: an error becomes a sentence on the page."""

from __future__ import annotations

import functools
import logging
import traceback
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import gradio as gr

from train_embedding.errors import StorageFailed, TrainEmbeddingError, refusal_of
from train_embedding.ui import html

if TYPE_CHECKING:
    from train_embedding.services import Services

logger = logging.getLogger(__name__)

UNEXPECTED = ("Something went wrong inside Train Embedding.", "The server's log says what.")


def errors_in(status: gr.HTML) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorates a handler that answers {component: update}: an error is shown in `status`, and all else stays as it is."""

    def decorate(handler: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(handler)
        def guarded(*values: Any) -> Any:
            try:
                return handler(*values)
            except TrainEmbeddingError as problem:
                return {status: html.error(problem)}
            except Exception as problem:
                logger.exception("%s failed", handler.__qualname__)
                return {status: _unexpected_message(problem)}

        return guarded

    return decorate


class PollErrors:
    """Catches what fails in a part of a poll. The same failure comes back every second and is logged once."""

    def __init__(self) -> None:
        self._logged: dict[str, object] = {}

    @contextmanager
    def catch(self, part: str, sentences: list[str]) -> Generator[None, None, None]:
        """Adds what to tell of a failure inside to `sentences`."""
        try:
            yield
        except TrainEmbeddingError as problem:
            sentences.append(html.error(problem))
        except Exception as problem:
            failure = (type(problem), traceback.extract_tb(problem.__traceback__)[-1])
            if self._logged.get(part) != failure:
                self._logged[part] = failure
                logger.exception("Showing %s failed", part)
            sentences.append(_unexpected_message(problem))
        else:
            self._logged.pop(part, None)


def _unexpected_message(problem: Exception) -> str:
    refusal = refusal_of(problem)
    return html.message("bad", *UNEXPECTED) if refusal is None else html.error(refusal)


def remember(services: Services, values: dict[str, Any]) -> None:
    """Saves the last used values of fields. What they were used for is done, so a failure goes to the log alone."""
    try:
        services.settings.save({**services.settings.load(), **values})
    except StorageFailed as problem:
        logger.warning("The last used values could not be remembered: %s", problem)
