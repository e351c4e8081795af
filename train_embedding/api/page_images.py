"""Images that the tab shows by their address. They are served where the HTTP API is off, too.

The page's own protection applies to them: that of the stand-alone app, or the log-in of the WebUI.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from fastapi import APIRouter, FastAPI
from fastapi.responses import Response

from train_embedding.api.routing import Route, add
from train_embedding.translations import LANGUAGES, in_language, t

if TYPE_CHECKING:
    from train_embedding.services import Services

PREFIX = "/train-embedding/images"
SIDE = 256
"Longest side of a small image in pixels."
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "private, max-age=31536000, immutable",
}
"The address of a cell changes with its content."
_SHORT = {**_HEADERS, "Cache-Control": "private, max-age=300"}


def mount_page_images(app: FastAPI, services: Services, dependencies: list[Any] | None = None) -> None:
    """Add the routes to an app.

    Args:
        app: The app.
        services: What the routes call.
        dependencies: Results of FastAPI's `Depends` that protect the page's own files.
    """
    router = APIRouter(prefix=PREFIX, route_class=Route, dependencies=dependencies or [], include_in_schema=False)

    def show_cell(run_id: str, key: str) -> Response:
        return Response(services.comparing.cell(run_id, key), media_type="image/png", headers=_HEADERS)

    def show_small_cell(run_id: str, key: str) -> Response:
        return Response(services.comparing.thumbnail(run_id, key, SIDE), media_type="image/jpeg", headers=_HEADERS)

    def show_sheet(run_id: str, language: str = "") -> Response:
        name = quote(f"{run_id or 'comparison'}.png".encode("utf-8", "replace"), safe="")
        headers = {**_SHORT, "Cache-Control": "no-store", "Content-Disposition": f"inline; filename*=UTF-8''{name}"}
        with in_language(language if language in LANGUAGES else "en"):
            return Response(services.comparing.sheet(run_id, t), media_type="image/png", headers=headers)

    def show_embedding_cell(key: str) -> Response:
        return show_cell("", key)

    def show_small_embedding_cell(key: str) -> Response:
        return show_small_cell("", key)

    def show_embedding_sheet(language: str = "") -> Response:
        return show_sheet("", language)

    def show_dataset_image(run_id: str, number: int) -> Response:
        return Response(services.comparing.dataset_image(run_id, number, SIDE), media_type="image/jpeg", headers=_SHORT)

    add(router, "GET", "/runs/{run_id}/cells/{key}.png", show_cell)
    add(router, "GET", "/runs/{run_id}/cells/{key}.jpg", show_small_cell)
    add(router, "GET", "/runs/{run_id}/grid.png", show_sheet)
    add(router, "GET", "/embeddings/cells/{key}.png", show_embedding_cell)
    add(router, "GET", "/embeddings/cells/{key}.jpg", show_small_embedding_cell)
    add(router, "GET", "/embeddings/grid.png", show_embedding_sheet)
    add(router, "GET", "/runs/{run_id}/dataset/{number}.jpg", show_dataset_image)
    app.include_router(router)
