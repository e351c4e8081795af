"""The tab and API routes that the WebUI's script registers."""

from __future__ import annotations

import functools
import logging
import threading
from typing import TYPE_CHECKING, Any, cast

from train_embedding.errors import TrainEmbeddingError
from train_embedding.messages import NOTHING, Message, msg
from train_embedding.translations import Language, closest_language, translate

if TYPE_CHECKING:
    from fastapi import FastAPI

    from train_embedding.hosts.webui.host import WebUIHost
    from train_embedding.services import Services
    from train_embedding.ui.tab import HostCards

logger = logging.getLogger(__name__)

_CARDS = {f"{tab}_textual_inversion_cards_html": tab for tab in ("txt2img", "img2img")} | {
    f"{tab}embedding_extra_page": tab for tab in ("txt2img", "img2img", "control", "video")
}
"Element ids of the embedding cards of the WebUI and of SD.Next, with their tabs."
_GUARDED_ROUTE = "/sdapi/v1/embeddings"
"A route that the WebUI has if its API is on; its dependencies are the API's guards, such as authentication."
_FILE_ROUTE = "/file="
"In the route by which gradio serves the page's files; its dependencies check that the user has logged in."

_cards: dict[str, Any] = {}
"The WebUI's components with these ids, on the page that was built last."


@functools.cache
def services() -> Services:
    """Return the services. They are created once, so that a run continues after "Reload UI", which executes the script again."""
    from train_embedding.hosts.detect import detect
    from train_embedding.services import Services

    return Services(detect())


def take_cards(component: Any) -> None:
    """Remember the WebUI's embedding cards; a callback for `on_after_component`, which is called with every component."""
    elem_id = getattr(component, "elem_id", None)
    if elem_id in _CARDS:
        _cards[elem_id] = component


def tab() -> Any:
    """Return the tab, a gradio Blocks; a callback for `on_ui_tabs`."""
    from train_embedding.ui.tab import build, build_notice

    problem = why_unavailable()
    if problem:
        return build_notice(problem)
    return build(services(), _host_cards(), _language())


def title() -> str:
    """Return the title of the tab, in the language of the WebUI."""
    return translate(msg("Train Embedding"), "en" if why_unavailable() else _language())


def why_unavailable() -> Message:
    """Return why Train Embedding cannot work in this program; nothing if it can."""
    try:
        services().host.info()
    except TrainEmbeddingError as error:
        return error.text
    except Exception as error:
        logger.warning("The settings of this WebUI cannot be read: %s: %s", type(error).__name__, error)
        logger.debug("Traceback:", exc_info=True)
        return msg(
            "This version of the WebUI is not supported: its settings cannot be read ({problem}).",
            problem=f"{type(error).__name__}: {str(error)[:200]}",
        )
    return NOTHING


def _language() -> Language:
    """Return the language of the WebUI; a change takes effect with "Reload UI", as for the WebUI's own texts."""
    return closest_language(services().host.info().language)


def _host_cards() -> HostCards:
    """Return functions that render only the WebUI's embedding cards; its Refresh button would refresh every page."""
    host = cast("WebUIHost", services().host)
    return {component: functools.partial(host.cards_html, _CARDS[elem_id]) for elem_id, component in _cards.items()}


def mount_api(app: FastAPI) -> bool:
    """Add the API routes, with the same guards as the WebUI's own API.

    Args:
        app: The WebUI's application.

    Returns:
        Whether the routes were added; False if the WebUI's API is off, or Train Embedding cannot work in this program.
    """
    guards = _guards(app)
    if guards is None or why_unavailable():
        return False
    from train_embedding.api.routes import mount

    mount(app, services(), guards, _allowed)
    return True


def mount_page_images(app: FastAPI) -> bool:
    """Add the routes of images that the tab shows, with the same guards as the files of the WebUI's page.

    Returns:
        Whether the routes were added; False if Train Embedding cannot work in this program, or its page serves no files.
    """
    routes = [route for route in app.routes if _FILE_ROUTE in getattr(route, "path", "")]
    if not routes or why_unavailable():
        return False
    from train_embedding.api.page_images import mount_page_images as mount

    mount(app, services(), list(getattr(routes[0], "dependencies", [])))
    return True


def work_on_queue() -> None:
    """Begin to work on the training queue, without keeping the WebUI waiting: the parts that train are imported in a thread."""
    if not why_unavailable():
        threading.Thread(target=lambda: services().queue.serve(), name="train-embedding queue", daemon=True).start()


def _allowed(origin: str) -> bool:
    """Return whether the WebUI's options allow pages of this origin to use its API."""
    from train_embedding.api.origins import allows

    info = services().host.info()
    return allows(info.allowed_origins, info.allowed_origins_pattern)(origin)


def _guards(app: FastAPI) -> list[Any] | None:
    """Return the dependencies of the WebUI's API routes; None if its API is off."""
    for route in app.routes:
        if getattr(route, "path", "") == _GUARDED_ROUTE:
            return list(getattr(route, "dependencies", []))
    return None
