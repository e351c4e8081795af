"""The routes of the training queue."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")

from PIL import Image
from starlette.testclient import TestClient

from tests.words import word_model
from train_embedding.api.routes import PREFIX
from train_embedding.services import Services
from train_embedding.testing import FakeHost


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    return FakeHost(tmp_path, model=word_model())


@pytest.fixture
def body(services: Services, tmp_path: Path) -> dict[str, Any]:
    """A training that can be added."""
    (tmp_path / "cat").mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "cat" / "1.png")
    for name in ("my-cat", "my-dog"):
        services.library.create(name, "cat", 1)
    return {"embedding": "my-cat", "dataset": str(tmp_path / "cat"), "steps": 7}


def call(client: TestClient, method: str, path: str, body: Any = None, status: int = 200) -> Any:
    answer = client.request(method, f"{PREFIX}/{path}", json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def order(client: TestClient) -> list[str]:
    return [entry["id"] for entry in call(client, "GET", "queue")["entries"]]


def test_trainings_are_added_moved_removed_and_restored(client: TestClient, body: dict[str, Any]) -> None:
    added = call(client, "POST", "queue", body)
    assert (added["id"], added["status"], added["run"], added["changed"]) == ("1", "waiting", None, {"steps": 7})
    assert (added["embedding"], added["checkpoint"], added["spec"]["steps"]) == ("my-cat", "fake", 7)
    assert call(client, "GET", "queue/1") == added
    call(client, "POST", "queue", {**body, "embedding": "my-dog"})
    assert order(client) == ["1", "2"]
    assert call(client, "POST", "queue/2/move", {"position": 1})["id"] == "2"
    assert order(client) == ["2", "1"]
    assert call(client, "DELETE", "queue/1") == added
    assert order(client) == ["2"]
    assert call(client, "GET", "queue/removed") == [added]
    assert call(client, "POST", "queue/removed/1/restore") == added
    assert order(client) == ["2", "1"]


def test_the_queue_is_paused_and_continued(client: TestClient) -> None:
    assert call(client, "POST", "queue/pause") == {"paused": True, "why_paused": "", "entries": []}
    assert call(client, "GET", "queue")["paused"] is True
    assert call(client, "POST", "queue/continue")["paused"] is False


def test_failed_ones_are_tried_again_or_cleared(client: TestClient, services: Services, body: dict[str, Any]) -> None:
    call(client, "POST", "queue", body)
    services.library.delete("my-cat")
    with services.queue.work():
        assert services.queue.begin_next() is None
    failed = call(client, "GET", "queue/1")
    assert (failed["status"], failed["error"]) == ("failed", 'There is no embedding "my-cat".')
    assert call(client, "POST", "queue/1/retry")["status"] == "waiting"
    with services.queue.work():
        services.queue.begin_next()
    assert call(client, "POST", "queue/clear") == {"removed": 1}
    assert order(client) == []


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "queue/9"), ("DELETE", "queue/9"), ("POST", "queue/9/retry"), ("POST", "queue/removed/9/restore")],
)
def test_what_is_not_there_is_not_found(client: TestClient, method: str, path: str) -> None:
    assert "9" in call(client, method, path, status=404)["error"]


@pytest.mark.parametrize("position", [0, -1, "1", 1.5, True, None])
def test_a_position_is_a_whole_number_from_1(client: TestClient, body: dict[str, Any], position: Any) -> None:
    call(client, "POST", "queue", body)
    assert set(call(client, "POST", "queue/1/move", {"position": position}, status=422)) == {"error", "hint"}


def test_what_cannot_be_trained_is_not_added(client: TestClient, body: dict[str, Any]) -> None:
    call(client, "POST", "queue", {**body, "embedding": "nobody"}, status=404)
    call(client, "POST", "queue", {**body, "dataset": "/nowhere/at/all"}, status=404)
    call(client, "POST", "queue", {**body, "steps": 0}, status=422)
    call(client, "POST", "queue/1/move", {}, status=422)
    assert order(client) == []
