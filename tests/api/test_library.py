"""Managing the library over HTTP: names in all scripts, uploads, previews, the trash."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest

pytest.importorskip("fastapi")

import torch
from PIL import Image
from starlette.testclient import TestClient

from benchmarks.hostile_cases import vectors_and_call
from train_embedding.api import library as module
from train_embedding.api import routes
from train_embedding.embeddings.embedding import Embedding
from train_embedding.services import Services
from train_embedding.testing import FakeHost

NAMES = ["cat", "剣", "my cat v1.5", "سيف", "👩‍🎨", "a.b", "100% pure #1", "import", "ünï;&=+'"]


def ask(client: TestClient, method: str, path: str, body: Any = None) -> Any:
    content = None if body is None else json.dumps(body).encode()
    return client.request(method, f"{routes.PREFIX}/{path}", content=content, headers={"Content-Type": "application/json"})


def of(name: str) -> str:
    return f"embeddings/{quote(name, safe='')}"


def data_of(services: Services, name: str = "cat") -> bytes:
    services.library.save(Embedding(name, {"clip_l": torch.ones(2, 768)}))
    return services.library.get(name).file.read_bytes()


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def picture() -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (4, 4)).save(data, "PNG")
    return data.getvalue()


def test_an_unsafe_file_is_sanitized(client: TestClient, services: Services, tmp_path: Path) -> None:
    folder = services.host.info().embeddings_folder
    (folder / "evil.pt").write_bytes(vectors_and_call(str(tmp_path / "ran"), zipped=True))
    (entry,) = ask(client, "GET", "embeddings").json()
    assert "posix.system" in entry["unsafe_reason"]
    assert entry["can_sanitize"]
    sanitized = ask(client, "POST", of("evil") + "/sanitize")
    assert (sanitized.status_code, sanitized.json()["unsafe_reason"], sanitized.json()["vectors"]) == (200, "", 2)
    assert ask(client, "POST", of("evil") + "/sanitize").status_code == 409
    assert not (tmp_path / "ran").exists()


def test_a_file_for_a_program(client: TestClient, services: Services) -> None:
    data_of(services, "My Cat 猫")
    made = ask(client, "GET", of("My Cat 猫") + "/file?for=comfyui")
    assert (made.status_code, unquote(made.headers["x-trigger"])) == (200, "embedding:My_Cat_猫")
    assert "My_Cat_猫.safetensors" in unquote(made.headers["x-usage"])
    assert made.headers["content-disposition"].endswith(quote("My_Cat_猫.safetensors"))
    assert "x-trigger" not in ask(client, "GET", of("My Cat 猫") + "/file").headers
    for wrong in ("for=paint", "for=invokeai", "for=comfyui&format=webui", "for=comfyui&suffix=.pt", "format=png&suffix=.pt"):
        assert ask(client, "GET", of("My Cat 猫") + f"/file?{wrong}").status_code == 422, wrong


def test_a_file_to_share(client: TestClient, services: Services) -> None:
    data_of(services, "My Cat 猫")
    made = ask(client, "GET", of("My Cat 猫") + "/file?for=civitai&license=CC0")
    assert made.headers["content-disposition"].endswith(quote("My Cat 猫-civitai.zip", safe=""))
    with zipfile.ZipFile(io.BytesIO(made.content)) as archive:
        assert json.loads(archive.read("My Cat 猫/civitai.json"))["license"] == "CC0"
    card = ask(client, "GET", of("My Cat 猫") + "/file?for=card")
    assert (card.content[:4], unquote(card.headers["x-trigger"])) == (b"\x89PNG", "My Cat 猫")
    assert ask(client, "GET", of("My Cat 猫") + "/file?for=card&format=png").status_code == 422


@pytest.mark.parametrize("name", NAMES)
def test_a_life_under_any_name(client: TestClient, services: Services, name: str) -> None:
    data_of(services, "first")
    renamed = ask(client, "PATCH", of("first"), {"name": name, "description": "d", "preferred_weight": 0.5})
    assert renamed.status_code == 200, renamed.text
    assert (renamed.json()["name"], renamed.json()["notes"]["description"]) == (name, "d")
    noted = ask(client, "PATCH", of(name), {"notes": "n"}).json()["notes"]
    assert (noted["description"], noted["notes"], noted["preferred_weight"]) == ("d", "n", 0.5)
    assert ask(client, "PUT", of(name) + "/preview", {"content": text(picture())}).json()["preview"].endswith(".preview.png")
    shown = ask(client, "GET", of(name) + "/preview")
    assert (shown.content, shown.headers["content-type"]) == (picture(), "image/png")
    assert ask(client, "POST", of(name) + "/copy", {"name": "second"}).json()["notes"]["notes"] == "n"
    exported = ask(client, "GET", of(name) + "/file?format=safetensors")
    assert exported.headers["content-disposition"] == f"attachment; filename*=UTF-8''{quote(name, safe='')}.safetensors"
    assert exported.content[8:9] == b"{"
    assert ask(client, "GET", of(name) + "/file").content == services.library.get(name).file.read_bytes()
    assert ask(client, "DELETE", of(name)).json() == {"deleted": name}
    (item,) = ask(client, "GET", "trash").json()
    assert (item["name"], item["file"]) == (name, f"{name}.pt")
    (restored,) = ask(client, "POST", f"trash/{quote(item['id'], safe='')}/restore").json()
    assert (restored["name"], restored["notes"]["notes"], restored["loaded"]) == (name, "n", True)
    assert ask(client, "GET", "trash").json() == []


def test_restoring_onto_a_taken_name(client: TestClient, services: Services) -> None:
    for name in ("cat", "dog"):
        data_of(services, name)
    ask(client, "DELETE", "embeddings/cat")
    ask(client, "PATCH", "embeddings/dog", {"name": "cat"})
    (item,) = ask(client, "GET", "trash").json()
    address = f"trash/{quote(item['id'], safe='')}/restore"
    refused = ask(client, "POST", address)
    assert (refused.status_code, refused.json()["hint"]) == (409, 'Send another name as "as", or "replace": true.')
    assert ask(client, "POST", address, {"as": ""}).status_code == 422
    assert ask(client, "POST", address, {"name": "x"}).status_code == 422
    assert [entry["name"] for entry in ask(client, "POST", address, {"replace": True}).json()] == ["cat"]
    (item,) = ask(client, "GET", "trash").json()
    address = f"trash/{quote(item['id'], safe='')}/restore"
    assert [entry["name"] for entry in ask(client, "POST", address, {"as": "dog"}).json()] == ["dog"]
    assert ask(client, "GET", "trash").json() == []


def test_emptying_the_trash(client: TestClient, services: Services) -> None:
    data_of(services)
    ask(client, "DELETE", "embeddings/cat")
    assert ask(client, "DELETE", "trash").json() == {"deleted": 1}
    assert ask(client, "GET", "trash").json() == []


def test_importing(client: TestClient, services: Services, tmp_path: Path) -> None:
    data = data_of(services)
    (tmp_path / "by path.pt").write_bytes(data)
    (one,) = ask(client, "POST", "embeddings/import", {"path": str(tmp_path / "by path.pt"), "folder": "sub"}).json()
    assert (one["entry"]["name"], one["entry"]["folder"], one["problem"]) == ("by path", "sub", "")
    (one,) = ask(client, "POST", "embeddings/import", {"name": "up.pt", "content": text(data)}).json()
    assert one["entry"]["name"] == "up"
    files = [{"name": "a.pt", "content": text(data)}, {"name": "b.pt", "content": text(b"garbage")}, {"path": "/nowhere/c.pt"}]
    done = ask(client, "POST", "embeddings/import", {"files": files})
    assert done.status_code == 200
    assert [one["entry"] is not None for one in done.json()] == [True, False, False]
    assert all(one["problem"] for one in done.json()[1:])
    (one,) = ask(client, "POST", "embeddings/import", {"name": "up.pt", "content": text(data), "as": "called"}).json()
    assert one["entry"]["name"] == "called"
    (one,) = ask(client, "POST", "embeddings/import", {"name": "up.pt", "content": text(data), "overwrite": True}).json()
    assert one["entry"]["name"] == "up"


@pytest.mark.parametrize(
    "body",
    [
        {}, {"files": 3}, {"files": ["a"]}, {"files": [{}]}, {"files": [{"path": "x", "name": "y"}]}, {"files": [], "path": "x"},
        {"path": 3}, {"name": "a.pt"}, {"content": "AAAA"}, {"name": "a.pt", "content": "no base64!"}, {"path": "x", "folder": 3},
        {"name": "a.pt", "content": 3}, {"name": 3, "content": "AAAA"}, {"path": "x", "colour": "red"},
        {"name": "a", "content": "é"}, {"path": "x", "overwrite": "yes"}, {"path": "x", "content": "AAAA"},
    ],
)  # fmt: skip
def test_imports_that_are_refused(client: TestClient, body: dict[str, Any]) -> None:
    answer = ask(client, "POST", "embeddings/import", body)
    assert answer.status_code == 422
    assert set(answer.json()) == {"error", "hint"}


@pytest.mark.parametrize("path", ["", "\x00", "\ud800", "~nobody/x", "/", "a" * 5000])
def test_weird_paths(client: TestClient, path: str) -> None:
    answer = ask(client, "POST", "embeddings/import", {"path": path})
    assert answer.status_code == 200
    assert answer.json()[0]["problem"]


@pytest.mark.parametrize("folder", ["a\x00b", "\ud800", "a" * 5000, "a" * 300, "..", "/etc"])
def test_weird_folders(client: TestClient, services: Services, folder: str) -> None:
    body = {"name": "a.pt", "content": text(data_of(services)), "folder": folder}
    answer = ask(client, "POST", "embeddings/import", body)
    assert answer.status_code == 200
    assert answer.json()[0]["problem"]


def test_an_upload_may_be_larger_than_other_bodies(
    client: TestClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_of(services)
    large = text(b"x" * 2 * 2**20)
    (one,) = ask(client, "POST", "embeddings/import", {"name": "a.pt", "content": large}).json()
    assert "not an embedding" in one["problem"]
    assert ask(client, "PATCH", "embeddings/cat", {"notes": large}).status_code == 422
    assert module.MAX_UPLOAD > 16 * 2**20 * 4 / 3
    too_large = client.post(
        f"{routes.PREFIX}/embeddings/import", content=b" " * (module.MAX_UPLOAD + 1), headers={"Content-Type": "application/json"}
    )
    assert (too_large.status_code, too_large.json()["error"]) == (422, "The body is larger than 24576 KiB.")


def test_previews_from_elsewhere(client: TestClient, services: Services, fake_host: FakeHost) -> None:
    data_of(services)
    assert ask(client, "GET", "embeddings/cat/preview").status_code == 404
    assert ask(client, "PUT", "embeddings/cat/preview", {"run": "none"}).status_code == 404
    assert ask(client, "PUT", "embeddings/cat/preview", {"prompt": "a [name]"}).status_code == 200
    assert fake_host.requests[0].prompt == "a cat"
    for body in ({}, {"run": "a", "prompt": "b"}, {"content": text(b"x")}, {"content": "é"}, {"colour": "red"}, {"run": 3}):
        assert ask(client, "PUT", "embeddings/cat/preview", body).status_code == 422


def test_a_preview_too_large_to_be_one(client: TestClient, services: Services) -> None:
    data_of(services)
    with services.library.get("cat").file.with_name("cat.preview.png").open("wb") as file:
        file.truncate(2**30)  # a hole: nothing lies on the disk
    answer = ask(client, "GET", "embeddings/cat/preview")
    assert (answer.status_code, answer.json()["error"]) == (422, "The image is larger than 16 MB.")


def test_changes_that_are_refused(client: TestClient, services: Services) -> None:
    data_of(services)
    data_of(services, "dog")
    for body in (
        {"colour": "red"},
        {"name": 3},
        {"name": ""},
        {"name": "a/b"},
        {"name": "new", "notes": 3},
        {"preferred_weight": "x"},
        {"preferred_weight": 10**400},
        {"preferred_weight": float("nan")},
        {"preferred_weight": -101},
    ):
        assert ask(client, "PATCH", "embeddings/cat", body).status_code == 422
    assert ask(client, "PATCH", "embeddings/cat", {"name": "dog"}).status_code == 409
    assert ask(client, "POST", "embeddings/cat/copy", {"name": "dog"}).status_code == 409
    assert ask(client, "POST", "embeddings/cat/copy", {}).status_code == 422
    for method, path in (("PATCH", "embeddings/no"), ("DELETE", "embeddings/no"), ("GET", "embeddings/no/file")):
        assert ask(client, method, path, {"notes": ""} if method == "PATCH" else None).status_code == 404
    assert ask(client, "POST", "trash/..%2Fembeddings/restore").status_code == 404
    assert ask(client, "GET", "embeddings/cat/file?format=onnx").status_code == 422
    with services.library.lock_for_training("cat"):
        assert ask(client, "DELETE", "embeddings/cat").status_code == 409
    assert {entry["name"] for entry in ask(client, "GET", "embeddings").json()} == {"cat", "dog"}


def test_one_of_several_files(client: TestClient, services: Services) -> None:
    data_of(services)
    folder = services.library.get("cat").file.parent
    (folder / "sub").mkdir()
    (folder / "sub" / "cat.pt").write_bytes((folder / "cat.pt").read_bytes())
    assert ask(client, "DELETE", "embeddings/cat?file=sub/cat.pt").status_code == 200
    assert ask(client, "DELETE", "embeddings/cat?file=sub/cat.pt").status_code == 404
    assert (folder / "cat.pt").exists()
