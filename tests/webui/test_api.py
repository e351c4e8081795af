"""The routes in the WebUI: there, documented, guarded like its own API, and patient with bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.webui.server import PREFIX, ROUTES, WebUI, step_kept


def test_the_routes_are_in_the_webuis_documentation(webui: WebUI) -> None:
    paths = webui.get("/openapi.json")["paths"]
    for path in ("datasets", "embeddings", "queue", "runs", "tokens"):
        assert "post" in paths[f"{ROUTES}/{path}"], path
    body = paths[f"{ROUTES}/embeddings"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body["required"] == ["name"]


def test_the_list_tells_what_is_loaded_and_what_is_not(webui: WebUI) -> None:
    webui.create(f"{PREFIX}listed", "tree", vectors=1)
    broken = webui.embeddings / f"{PREFIX}broken.pt"
    broken.write_bytes(b"not an embedding")
    entries = {entry["name"]: entry for entry in webui.get(f"{ROUTES}/embeddings")}
    listed = entries[f"{PREFIX}listed"]
    assert listed["loaded"]
    file = webui.embeddings / f"{PREFIX}listed.pt"
    assert (listed["vectors"], listed["step"], listed["reason"]) == (1, step_kept(file, 0), "")
    assert Path(listed["file"]) == file
    assert not entries[f"{PREFIX}broken"]["loaded"]
    assert entries[f"{PREFIX}broken"]["reason"]


def test_one_of_another_width_is_listed_with_the_reason(webui: WebUI) -> None:
    import torch

    from tests.webui.server import write_vectors

    write_vectors(webui.embeddings / f"{PREFIX}wide.pt", torch.zeros(1, 1024))
    webui.post("/sdapi/v1/refresh-embeddings")
    entry = next(entry for entry in webui.get(f"{ROUTES}/embeddings") if entry["name"] == f"{PREFIX}wide")
    assert not entry["loaded"]
    assert entry["reason"]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("embeddings", b"{", 422),
        ("embeddings", [], 422),
        ("embeddings", {"name": "../x"}, 422),
        ("embeddings", {"name": f"{PREFIX}x", "vectors": 0}, 422),
        ("embeddings", {"name": f"{PREFIX}x", "vectors": 76}, 422),
        ("embeddings", {"name": f"{PREFIX}x", "vectors": 10**400}, 422),
        ("embeddings", b'{"name": "te-test-x", "vectors": NaN}', 422),
        ("runs", {"embedding": f"{PREFIX}none", "dataset": "/nowhere"}, 404),
        ("runs", {"embedding": f"{PREFIX}none", "dataset": "/nowhere", "learning_rate": "fast"}, 422),
        ("runs/none/stop", {}, 404),
    ],
)
def test_bad_input_gets_a_sentence(webui: WebUI, path: str, body: Any, status: int) -> None:
    answer = webui.call("POST", f"{ROUTES}/{path}", body)
    assert answer.status == status
    assert set(answer.body) == {"error", "hint"}
    assert answer.body["error"].endswith(".")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "application/json", "Origin": "http://evil.example"}, 403),
        ({"Content-Type": "application/json", "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Content-Type": "application/json", "Origin": "null"}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
    ],
)
def test_a_page_of_another_site_changes_nothing(webui: WebUI, headers: dict[str, str], status: int) -> None:
    body = json.dumps({"name": f"{PREFIX}uninvited", "init_text": "tree"}).encode()
    answer = webui.call("POST", f"{ROUTES}/embeddings", body, headers=headers)
    assert answer.status == status
    assert set(answer.body) == {"error", "hint"}
    assert not (webui.embeddings / f"{PREFIX}uninvited.pt").exists()


def test_the_routes_want_the_credentials_of_the_webuis_api(webui: WebUI) -> None:
    if not webui.auth:
        pytest.skip("needs a WebUI started with --api-auth, the credentials in WEBUI_API_AUTH")
    for method, path in (
        ("GET", "embeddings"),
        ("POST", "embeddings"),
        ("GET", "runs"),
        ("POST", "runs"),
        ("POST", "runs/x/stop"),
    ):
        body = {"name": f"{PREFIX}uninvited"} if method == "POST" else None
        assert webui.call(method, f"{ROUTES}/{path}", body, auth=False).status == 401
    assert not (webui.embeddings / f"{PREFIX}uninvited.pt").exists()
    assert webui.call("GET", f"{ROUTES}/embeddings").status == 200
