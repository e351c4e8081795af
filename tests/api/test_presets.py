"""The routes of presets of one's own."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("fastapi")

from starlette.testclient import TestClient

from tests.run_folders import FIRST, stored_run
from train_embedding.api.routes import PREFIX
from train_embedding.services import Services
from train_embedding.testing import FakeHost


def call(client: TestClient, method: str, path: str, body: Any = None, status: int = 200) -> Any:
    answer = client.request(method, f"{PREFIX}/{path}", json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def test_a_life(client: TestClient) -> None:
    saved = call(
        client, "POST", "presets", {"name": "my style", "options": {"preset": "Quality", "steps": 300}, "description": "d"}
    )
    assert saved == {
        "train_embedding_preset": 1, "name": "my style", "based_on": "Quality", "description": "d", "options": {"steps": 300},
    }  # fmt: skip
    assert call(client, "GET", "presets") == [saved]
    assert call(client, "GET", "presets/my%20style") == saved
    assert call(client, "PATCH", "presets/my%20style", {"name": "剣"})["name"] == "剣"
    deleted = call(client, "DELETE", "presets/剣")
    assert call(client, "GET", "presets") == []
    assert call(client, "POST", f"presets/trash/{deleted['trash_id']}/restore")["options"] == {"steps": 300}
    assert call(client, "POST", "presets/import", {"preset": saved})["name"] == "my style"
    assert len(call(client, "GET", "presets")) == 2


def test_the_options_of_a_run_are_saved(client: TestClient, host: FakeHost) -> None:
    stored_run(host, FIRST, {"batch_size": 7})
    assert call(client, "POST", "presets", {"name": "again", "run": FIRST})["options"] == {"batch_size": 7}


def test_a_run_is_started_with_one(client: TestClient, services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    call(client, "POST", "presets", {"name": "mine", "options": {"preset": "Quality", "steps": 300}})
    specs: list[Any] = []

    def start(spec: Any) -> Any:
        specs.append(spec)
        return spec

    monkeypatch.setattr(services.runs, "start", start)
    call(client, "POST", "runs", {"embedding": "cat", "dataset": "/images", "preset": "mine", "batch_size": 3})
    assert (specs[0].preset, specs[0].steps, specs[0].batch_size) == ("Quality", 300, 3)
    refused = call(client, "POST", "runs", {"embedding": "cat", "dataset": "/images", "preset": "none"}, 422)
    assert "mine" in refused["hint"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "presets", {"name": "a"}, 422),
        ("POST", "presets", {"name": "a", "options": [], "extra": 1}, 422),
        ("POST", "presets", {"name": "a", "options": []}, 422),
        ("POST", "presets", {"name": "a", "options": {"steps": 0}}, 422),
        ("POST", "presets", {"name": "a", "options": {}, "run": "b"}, 422),
        ("POST", "presets", {"name": "a", "run": "none"}, 404),
        ("POST", "presets", {"name": "Fast", "options": {}}, 422),
        ("POST", "presets/import", {"preset": {"name": "a"}}, 422),
        ("POST", "presets/import", {"preset": 3}, 422),
        ("GET", "presets/none", None, 404),
        ("PATCH", "presets/none", {"name": "b"}, 404),
        ("DELETE", "presets/none", None, 404),
        ("POST", "presets/trash/none/restore", None, 404),
    ],
)
def test_what_cannot_be_done_is_said(client: TestClient, method: str, path: str, body: Any, status: int) -> None:
    assert set(call(client, method, path, body, status)) == {"error", "hint"}


def test_a_taken_name(client: TestClient) -> None:
    body = {"name": "a", "options": {}}
    call(client, "POST", "presets", body)
    call(client, "POST", "presets", body, 409)
    call(client, "POST", "presets", {**body, "overwrite": True})
