"""The routes of the history of runs, over runs of earlier processes."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("fastapi")

from starlette.testclient import TestClient

from tests.run_folders import FIRST, stored_run
from train_embedding.api.routes import PREFIX
from train_embedding.testing import FakeHost

SECOND = "20261102-100000-000"


def call(client: TestClient, method: str, path: str, body: Any = None, status: int = 200) -> Any:
    answer = client.request(method, f"{PREFIX}/{path}", json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def test_runs_are_found_noted_deleted_and_restored(client: TestClient, host: FakeHost) -> None:
    stored_run(host, FIRST, {"batch_size": 7}, checkpoint="model")
    stored_run(host, SECOND, {"embedding": "dog"})
    assert [run["id"] for run in call(client, "GET", "runs")] == [SECOND, FIRST]
    assert [run["id"] for run in call(client, "GET", "runs?search=DOG")] == [SECOND]
    noted = call(client, "PATCH", f"runs/{FIRST}", {"note": "good"})
    assert (noted["note"], noted["changed"], noted["samples"], noted["checkpoint"]) == ("good", {"batch_size": 7}, 280, "model")
    assert call(client, "GET", "runs?search=good")[0] == call(client, "GET", f"runs/{FIRST}") == noted
    deleted = call(client, "DELETE", f"runs/{FIRST}")
    assert [run["id"] for run in call(client, "GET", "runs")] == [SECOND]
    assert [run["note"] for run in call(client, "GET", "runs/trash")] == ["good"]
    assert call(client, "POST", f"runs/trash/{deleted['trash_id']}/restore") == noted
    assert call(client, "GET", "runs/trash") == []


@pytest.mark.parametrize("body", [{}, {"note": 3}, {"note": None}, {"text": "a"}, {"note": "a", "step": 3}])
def test_only_a_text_is_a_note(client: TestClient, host: FakeHost, body: dict[str, Any]) -> None:
    stored_run(host)
    assert set(call(client, "PATCH", f"runs/{FIRST}", body, status=422)) == {"error", "hint"}


@pytest.mark.parametrize(("method", "path"), [("DELETE", "runs/none"), ("POST", "runs/trash/none/restore")])
def test_what_is_not_there_is_not_found(client: TestClient, method: str, path: str) -> None:
    assert "none" in call(client, method, path, status=404)["error"]


def test_a_damaged_run_breaks_no_list(client: TestClient, host: FakeHost) -> None:
    stored_run(host, FIRST)
    (stored_run(host, SECOND).folder / "state.json").write_text("{")
    assert [run["id"] for run in call(client, "GET", "runs")] == [FIRST]
