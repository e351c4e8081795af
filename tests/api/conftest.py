"""The HTTP API over the services of each test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("fastapi")

from fastapi import FastAPI
from starlette.testclient import TestClient

from tests.current import CurrentServices
from train_embedding.api import routes
from train_embedding.services import Services
from train_embedding.testing import FakeHost


@pytest.fixture
def host(fake_host: FakeHost) -> FakeHost:
    """The host of `services`."""
    return fake_host


@pytest.fixture
def services(host: FakeHost) -> Any:
    """The services behind the routes of `client`."""
    return Services(host)


@pytest.fixture(scope="module")
def shared_client(current_services: CurrentServices) -> Iterator[TestClient]:
    """The routes, mounted once for all tests of a module."""
    app = FastAPI()
    routes.mount(app, current_services)  # pyright: ignore[reportArgumentType]
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def client(shared_client: TestClient, current_services: CurrentServices, services: Any) -> TestClient:
    current_services.now = services
    return shared_client
