"""Errors of handlers, shown as messages on the page."""

from __future__ import annotations

import functools
import logging
import traceback
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import gradio as gr

from train_embedding.errors import StorageFailed, TrainEmbeddingError, refusal_of
from train_embedding.messages import msg
from train_embedding.ui import html

if TYPE_CHECKING:
    from markupsafe import Markup

    from train_embedding.services import Services

logger = logging.getLogger(__name__)

UNEXPECTED = (msg("Something went wrong in Train Embedding."), msg("The server's log has the details."))


def errors_in(status: gr.HTML) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorate a handler that returns {component: update}: an error is shown in `status`, and nothing else is updated."""

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

        guarded.__annotations__ = {}  # gradio evaluates them, at every event
        return guarded

    return decorate


class PollErrors:
    """Catches errors in the parts of a poll. An error that comes back every second is logged once."""

    def __init__(self) -> None:
        self._logged: dict[str, object] = {}

    @contextmanager
    def catch(self, part: str, messages: list[str]) -> Generator[None, None, None]:
        """Append the message about an error inside to `messages`."""
        try:
            yield
        except TrainEmbeddingError as problem:
            messages.append(html.error(problem))
        except Exception as problem:
            failure = (type(problem), traceback.extract_tb(problem.__traceback__)[-1])
            if self._logged.get(part) != failure:
                self._logged[part] = failure
                logger.exception("Showing %s failed", part)
            messages.append(_unexpected_message(problem))
        else:
            self._logged.pop(part, None)


def _unexpected_message(problem: Exception) -> Markup:
    refusal = refusal_of(problem)
    return html.message("bad", *UNEXPECTED) if refusal is None else html.error(refusal)


def remember(services: Services, values: dict[str, Any]) -> None:
    """Save the last used values of fields. A failure is only logged, because the action itself has succeeded."""
    try:
        services.settings.save({**services.settings.load(), **values})
    except StorageFailed as problem:
        logger.warning("The last used values could not be saved: %s", problem)
