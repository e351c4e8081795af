"""What the WebUI's script registers: the tab and the API routes, over services that live as long as the process."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastapi import FastAPI

    from train_embedding.services import Services

_GUARDED_ROUTE = "/sdapi/v1/embeddings"
"A route of the WebUI's API; it is there when the API is on, and carries the API's guards."


@functools.cache
def services() -> Services:
    """Made once: a run under way survives the WebUI's "Reload UI", which executes the script again."""
    from train_embedding.hosts.detect import detect
    from train_embedding.services import Services

    return Services(detect())


def tab() -> Any:
    """The tab, a gradio Blocks, for `on_ui_tabs`."""
    from train_embedding.ui.tab import build

    return build(services())


def mount_api(app: FastAPI) -> bool:
    """Adds our routes behind whatever guards the WebUI's own API; does nothing, and returns False, where that is off."""
    guards = _guards(app)
    if guards is None:
        return False
    from train_embedding.api.routes import mount

    mount(app, services(), guards)
    return True


def _guards(app: FastAPI) -> list[Any] | None:
    for route in app.routes:
        if getattr(route, "path", "") == _GUARDED_ROUTE:
            return list(getattr(route, "dependencies", []))
    return None
