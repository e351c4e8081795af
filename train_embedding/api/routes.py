"""All routes, under /train-embedding/v1; errors are {"error": …, "hint": …}."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, FastAPI

from train_embedding.api.combining import add_combining
from train_embedding.api.comparing import add_comparing
from train_embedding.api.dataset_images import add_dataset_images
from train_embedding.api.datasets import add_datasets
from train_embedding.api.embeddings import add_embeddings
from train_embedding.api.inspection import add_inspection
from train_embedding.api.library import add_library
from train_embedding.api.origins import AllowsOrigin, allows_none, checked
from train_embedding.api.presets import add_presets
from train_embedding.api.queue import add_queue
from train_embedding.api.routing import Route
from train_embedding.api.runs import add_runs

if TYPE_CHECKING:
    from train_embedding.services import Services

PREFIX = "/train-embedding/v1"


def mount(app: FastAPI, services: Services, dependencies: list[Any] | None = None, allowed: AllowsOrigin = allows_none) -> None:
    """Add the routes to an app.

    Args:
        app: The app.
        services: What the routes call.
        dependencies: Results of FastAPI's `Depends` that protect every route, as the host protects its own API.
        allowed: Other origins whose pages may use the routes.
    """
    guards = [*app.router.dependencies, *(dependencies or []), checked(allowed)]
    router = APIRouter(
        prefix=PREFIX, route_class=Route, dependencies=guards, tags=["Train Embedding"], dependency_overrides_provider=app
    )
    add_embeddings(router, services)
    add_inspection(router, services)
    add_combining(router, services)
    add_library(router, services)
    add_datasets(router, services)
    add_dataset_images(router, services)
    add_runs(router, services)
    add_queue(router, services)
    add_presets(router, services)
    add_comparing(router, services)
    app.router.routes.extend(router.routes)  # `include_router` would build each of them a second time
