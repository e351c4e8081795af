"""Datasets over HTTP: the same verbs as the command line."""

from __future__ import annotations

import base64
import io
import json
import time
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
    (item,) = client.get(f"{routes.PREFIX}/datasets/deleted").json()
    assert item["name"] == "grey"
    assert ask(client, "undelete", item="other")[0] == 404
    assert ask(client, "undelete") == {"restored": str(folder)}
    assert client.get(f"{routes.PREFIX}/datasets").json()[0]["images"] == 1
    assert ask(client, "undelete")[0] == 404


def test_crops_and_masks_over_http(client: TestClient) -> None:
    folder = Path(ask(client, "create", name="grey", files=[{"name": "a.png", "content": encoded("RGB")}])["folder"])
    image = {"folder": "grey", "image": "a.png"}
    assert ask(client, "crops/set", **image, crop=[8, 0, 32, 64])["images"] == ["a.png"]
    assert ask(client, "crops", folder="grey") == [{"image": "a.png", "size": [64, 64], "crop": [8, 0, 32, 64]}]
    assert ask(client, "check", folder="grey", width=64, height=64)["files"][0]["crop"] == [8, 0, 32, 64]
    assert ask(client, "crops/set", **image, crop=None)["changed"] == 1
    assert ask(client, "crops/undo", folder="grey")["changed"] == 1
    assert ask(client, "crops/centre", folder="grey", width=64, height=64, buckets=False)["note"]
    for crop in ([0, 0, 65, 64], [0, 0, 8], [0, 0, 8, 8.5], [0, 0, True, 8], "all", [10**4000, 0, 8, 8], [0, 0, 0, 0]):
        assert ask(client, "crops/set", **image, crop=crop)[0] in (400, 422), crop
    assert ask(client, "masks/write", **image, content=encoded("L"))["files"] == ["a-masklabel.png"]
    assert ask(client, "check", folder="grey")["files"][0]["mask"] == "file"
    assert ask(client, "masks/write", **image, content=encoded("L"))[0] == 409
    assert ask(client, "masks/write", **image, content=encoded("1"), replace=True)["in_trash"] == ["a-masklabel.png"]
    for content in ("", "%", "AAAA"):
        assert ask(client, "masks/write", **image, content=content, replace=True)[0] in (400, 422), content
    assert ask(client, "masks/write", **image)[0] in (400, 422)
    assert ask(client, "masks/remove", folder="grey", images=["a.png"])["files"] == ["a-masklabel.png"]
    assert ask(client, "masks/undo", folder="grey")["files"] == ["a-masklabel.png"]
    assert (folder / "a-masklabel.png").is_file()


def test_captions_are_generated_by_an_interrogator(client: TestClient) -> None:
    ask(client, "create", name="grey", files=[{"name": "here.png", "content": encoded("RGB")}])
    named = client.get(f"{routes.PREFIX}/datasets/interrogators").json()
    problems = {one["name"]: one["problem"] for one in named}
    assert problems == {"colour": None, "missing": "Its model has not been downloaded."}
    assert client.get(f"{routes.PREFIX}/datasets/captions/job").json() is None
    started = ask(client, "captions/generate", folder="grey", interrogator="colour", prefix="ramp, ")
    assert (started["images"], started["status"] in ("waiting", "loading", "running", "finished")) == (1, True)
    deadline = time.monotonic() + 30
    while (job := client.get(f"{routes.PREFIX}/datasets/captions/job").json())["status"] != "finished":
        assert time.monotonic() < deadline, job
        time.sleep(0.01)
    assert (job["done"], job["written"], job["error"]) == (1, 1, None)
    assert ask(client, "captions", folder="grey")[0]["caption"].startswith("ramp, 12")
    assert ask(client, "captions/stop")["status"] == "finished"


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
        ("captions/generate", {"folder": "nowhere", "interrogator": "colour"}, 404),
        ("captions/generate", {"folder": ".", "interrogator": "colour", "existing": "burn"}, 422),
        ("captions/generate", {"folder": ".", "interrogator": "colour", "threshold": "high"}, 422),
        ("captions/generate", {"folder": ".", "model_folder": "nowhere"}, 404),
    ],
)
def test_bad_requests_are_answered_with_a_sentence(client: TestClient, path: str, body: dict[str, Any], status: int) -> None:
    code, error = ask(client, path, **body)
    assert code == status
    assert error
