"""What the WebUI's script registers: the tab and the API routes, over services that live as long as the process."""

from __future__ import annotations

import functools
import logging
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

_CARDS = {f"{tab}_textual_inversion_cards_html": tab for tab in ("txt2img", "img2img")}
"Element ids of the WebUI's cards of embeddings, and the tab that each stands on."
_GUARDED_ROUTE = "/sdapi/v1/embeddings"
"A route of the WebUI's API; it is there when the API is on, and carries the API's guards."


_cards: dict[str, Any] = {}
"The WebUI's components with these ids, of the page that was made last."


@functools.cache
def services() -> Services:
    """Made once: a run under way survives the WebUI's "Reload UI", which executes the script again."""
    from train_embedding.hosts.detect import detect
    from train_embedding.services import Services

    return Services(detect())


def take_cards(component: Any) -> None:
    """Remember the WebUI's cards, for `on_after_component`, which comes with every component that the WebUI makes."""
    elem_id = getattr(component, "elem_id", None)
    if elem_id in _CARDS:
        _cards[elem_id] = component


def tab() -> Any:
    """The tab, a gradio Blocks, for `on_ui_tabs`."""
    from train_embedding.ui.tab import build, build_notice

    problem = why_unavailable()
    return build_notice(problem) if problem else build(services(), _host_cards(), _language())


def title() -> str:
    """Return the title of the tab, in the language of the WebUI."""
    return translate(msg("Train Embedding"), "en" if why_unavailable() else _language())


def why_unavailable() -> Message:
    """Return what keeps Train Embedding from working in this program; empty where it works."""
    try:
        services().host.info()
    except TrainEmbeddingError as error:
        return error.text
    except Exception as error:
        logger.warning("The settings of this WebUI cannot be read: %s: %s", type(error).__name__, error)
        logger.debug("They were read here:", exc_info=True)
        return msg(
            "This version of the WebUI is not supported: its settings cannot be read ({problem}).",
            problem=f"{type(error).__name__}: {str(error)[:200]}",
        )
    return NOTHING


def _language() -> Language:
    """Return the language of the WebUI; a change takes effect with "Reload UI", as for the WebUI's own texts."""
    return closest_language(services().host.info().language)


def _host_cards() -> HostCards:
    """What draws the WebUI's cards of embeddings and nothing else; pressing its own Refresh would run every page's refresh."""
    host = cast("WebUIHost", services().host)
    return {component: functools.partial(host.cards_html, _CARDS[elem_id]) for elem_id, component in _cards.items()}


def mount_api(app: FastAPI) -> bool:
    """Adds our routes behind whatever guards the WebUI's own API; does nothing, and returns False, where that is off
    or Train Embedding does not work in this program."""
    guards = _guards(app)
    if guards is None or why_unavailable():
        return False
    from train_embedding.api.routes import mount

    mount(app, services(), guards, _allowed)
    return True


def _allowed(origin: str) -> bool:
    """Whether the WebUI was told that pages of this origin may use its API."""
    from train_embedding.api.origins import allows

    info = services().host.info()
    return allows(info.allowed_origins, info.allowed_origins_pattern)(origin)


def _guards(app: FastAPI) -> list[Any] | None:
    for route in app.routes:
        if getattr(route, "path", "") == _GUARDED_ROUTE:
            return list(getattr(route, "dependencies", []))
    return None
