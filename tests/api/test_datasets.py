"""Datasets over HTTP: the same verbs as the command line."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")

from PIL import Image
from starlette.testclient import TestClient

from train_embedding.api import routes


def ask(client: TestClient, path: str, **body: Any) -> Any:
    content, headers = json.dumps(body).encode(), {"Content-Type": "application/json"}
    answer = client.request("POST", f"{routes.PREFIX}/datasets/{path}", content=content, headers=headers)
    return answer.json() if answer.status_code == 200 else (answer.status_code, answer.json()["error"])


def encoded(colour: str) -> str:
    data = io.BytesIO()
    Image.linear_gradient("L").convert(colour).resize((64, 64)).save(data, "PNG")
    return base64.b64encode(data.getvalue()).decode()


def test_a_dataset_over_http(client: TestClient, tmp_path: Path) -> None:
    (tmp_path / "there.txt").write_text("a gradient")
    upload = {"name": "here.png", "content": encoded("RGB")}
    made = ask(client, "create", name="grey", files=[upload])
    folder = Path(made["folder"])
    assert (made["added"], client.get(f"{routes.PREFIX}/datasets").json()[0]["images"]) == (["here.png"], 1)
    assert ask(client, "add", folder="grey", files=[{"path": str(tmp_path / "there.txt")}])["added"] == ["there.txt"]
    found = ask(client, "check", folder="grey", width=64, height=64, template=["[name], [filewords]"])
    assert (found["measured"], found["files"][0]["trained_at"]) == (1, [64, 64])
    assert found["files"][0]["warnings"][0]["kind"] == "caption"
    assert ask(client, "check", folder="grey", wait=False)["images"] == 1
    assert ask(client, "captions/change", folder="grey", images=["here.png"], caption="a ramp")["changed"] == 1
    assert ask(client, "captions/change", folder="grey", suffix=", grey")["files"] == ["here.txt"]
    assert ask(client, "captions", folder="grey")[0]["caption"] == "a ramp, grey"
    assert ask(client, "tags", folder="grey")[0] == {"tag": "a ramp", "images": 1}
    assert ask(client, "captions/undo", folder="grey")["changed"] == 1
    assert ask(client, "exclude", folder="grey", images=["here.png"]) == {"excluded": 1}
    assert ask(client, "check", folder="grey")["excluded"] == 1
    assert ask(client, "include", folder="grey", images=["here.png"]) == {"included": 1}
    assert ask(client, "remove", folder="grey", images=["here.png"]) == {"moved": 2}
    assert ask(client, "removed", folder="grey")[0]["files"] == ["here.png", "here.txt"]
    assert ask(client, "restore", folder="grey") == {"restored": ["here.png", "here.txt"]}
    assert ask(client, "delete", folder="grey") == {"deleted": str(folder)}
    assert not folder.exists()


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("check", {"folder": "nowhere"}, 404),
        ("check", {"folder": "nowhere", "width": "wide"}, 422),
        ("check", {"folder": "nowhere", "masks": 3}, 422),
        ("check", {"folder": "nowhere", "template": 3}, 422),
        ("create", {"name": "a/b"}, 422),
        ("create", {"name": "x", "files": [{"name": "a.png", "content": "?"}]}, 422),
        ("create", {"name": "x", "files": "a.png"}, 422),
        ("remove", {"folder": "nowhere", "images": "a.png"}, 422),
        ("captions/change", {"folder": "nowhere", "other": 1}, 422),
    ],
)
def test_bad_requests_are_answered_with_a_sentence(client: TestClient, path: str, body: dict[str, Any], status: int) -> None:
    code, error = ask(client, path, **body)
    assert code == status
    assert error
