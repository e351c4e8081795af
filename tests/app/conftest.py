"""The standalone app over a host without a model, and a way to send what gradio's pages send."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gradio")

from starlette.testclient import TestClient

from tests.current import CurrentServices
from tests.event_loops import inside_a_loop
from train_embedding.app import mounting, server
from train_embedding.app.access import Access
from train_embedding.app.guard import Guard
from train_embedding.app.languages import OwnRequests
from train_embedding.services import Services
from train_embedding.testing import FakeHost
from train_embedding.ui.gradio_compat import MAJOR

PREFIX = "/gradio_api" if MAJOR >= 5 else ""


@dataclass
class Client:
    """Requests to the app, as a program on this machine sends them."""

    http: TestClient
    folder: Path
    "Of gradio's files."

    def press(self, button: str, data: list[Any], **headers: str) -> Any:
        """What a page sends when the button with this id is used; the answer as it came."""
        config = self.http.get("/config").json()
        ids = {one["id"] for one in config["components"] if one["props"].get("elem_id") == button}
        number = next(number for number, one in enumerate(config["dependencies"]) if ids & set(_targets(one)))
        function = config["dependencies"][number].get("id", number)
        body = {"fn_index": function, "data": data, "session_hash": "page"}
        return self.http.post(f"{PREFIX}/run/predict", json=body, headers=headers)

    def file(self, path: Path | str) -> Any:
        return self.http.get(f"{PREFIX}/file={path}")

    def upload(self, name: str, content: bytes, **headers: str) -> Any:
        return self.http.post(f"{PREFIX}/upload", files={"files": (name, content)}, headers=headers)


def upload_value(path: Path | str) -> dict[str, Any]:
    """How gradio's pages name an uploaded file, in all versions."""
    return {"path": str(path), "name": str(path), "data": "", "is_file": True, "meta": {"_type": "gradio.FileData"}}


@contextmanager
def client_of(services: Any) -> Generator[Client, None, None]:
    with mounting.private_folder() as folder:
        app = inside_a_loop(lambda: server.application(services, folder, ["en"]))
        with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as http:
            yield Client(http, folder)


@pytest.fixture(scope="module")
def shared_client(current_services: CurrentServices, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """The app, made once for all tests of a module, over a host without embeddings."""
    current_services.now = Services(FakeHost(tmp_path_factory.mktemp("empty")))
    with client_of(current_services) as client:
        yield client


@pytest.fixture
def client(shared_client: Client, current_services: CurrentServices, fake_host: FakeHost) -> Client:
    current_services.now = Services(fake_host)
    return shared_client


@pytest.fixture
def serving(fake_host: Any) -> Iterator[str]:
    """The address of the app as it is served."""
    with mounting.private_folder() as folder, server._listener("127.0.0.1", 0) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        apps = inside_a_loop(lambda: server.application(Services(fake_host), folder))
        guard = Guard(apps, Access())
        guard.program_tokens = server.connect_queues(apps, address)
        ready = threading.Event()
        running = server._Server(server._config(OwnRequests(guard)), ready.set, lambda: None)
        thread = threading.Thread(target=running.run, args=([listener],))
        thread.start()
        assert ready.wait(60)
        yield address
        running.should_exit = True
        thread.join(30)


def _targets(dependency: dict[str, Any]) -> list[int]:
    return [one[0] if isinstance(one, list | tuple) else one for one in dependency["targets"]]
