"""The routes that compare steps and embeddings, and the images that the tab shows by their address."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("fastapi")

from fastapi import Depends, FastAPI, HTTPException
from PIL import Image
from starlette.testclient import TestClient

from tests.run_folders import FIRST, stored_run
from tests.words import word_model
from train_embedding import webui
from train_embedding.api.page_images import PREFIX as IMAGES
from train_embedding.api.page_images import mount_page_images
from train_embedding.api.routes import PREFIX
from train_embedding.embeddings.embedding import Embedding
from train_embedding.embeddings.formats import write_embedding
from train_embedding.services import Services
from train_embedding.services.run_records import RunState
from train_embedding.services.training.kept_steps import KeptSteps
from train_embedding.testing import FakeHost


def embedding(value: float, step: int) -> Embedding:
    import torch

    return Embedding("my-cat", {"clip_l": torch.full((2, 768), value)}, step, "fake", "0123456789")


@pytest.fixture
def host(fake_host: FakeHost) -> FakeHost:
    fake_host.the_model = word_model()
    return fake_host


@pytest.fixture
def run(host: FakeHost) -> RunState:
    """A run that has kept the start and two steps, the last of which is the embedding."""
    state = stored_run(host, evaluations=((0, 1.0, 0.5), (20, 0.9, 0.45)), saved_step=40)
    write_embedding(embedding(0.0, 0), state.folder / "start.pt")
    for step in (20, 40):
        KeptSteps(state.folder).keep(step, embedding(step / 100, step))
    write_embedding(embedding(0.4, 40), host.info().embeddings_folder / "my-cat.pt")
    host.reload_embeddings()
    return state


@pytest.fixture
def images(services: Services) -> Iterator[TestClient]:
    """The addresses that the tab uses."""
    app = FastAPI()
    mount_page_images(app, services)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def call(client: TestClient, method: str, path: str, body: Any = None, status: int = 200) -> Any:
    answer = client.request(method, f"{PREFIX}/{path}", json=body)
    assert answer.status_code == status, answer.text
    return answer.json() if answer.headers["content-type"] == "application/json" else answer.content


def test_steps_are_listed(client: TestClient, run: RunState) -> None:
    assert call(client, "GET", f"runs/{FIRST}/steps") == [
        {"step": 0, "loss": 0.5, "in_use": False},
        {"step": 20, "loss": 0.45, "in_use": False},
        {"step": 40, "loss": None, "in_use": True},
    ]


def test_steps_are_compared(client: TestClient, services: Services, run: RunState) -> None:
    body = {"prompts": ["a [name]", "[name]"], "seed": 3, "sampling_steps": 2, "steps": [0, 40]}
    started = call(client, "POST", f"runs/{FIRST}/comparison", body)
    assert (started["total"], started["options"]["seed"], started["options"]["width"]) == (4, 3, 64)
    services.comparing.wait(FIRST, 60)
    grid = call(client, "GET", f"runs/{FIRST}/comparison")
    assert (grid["status"], grid["done"], grid["active"]) == ("finished", 4, False)
    assert [row["step"] for row in grid["rows"]] == [0, 40]
    cell = Image.open(io.BytesIO(call(client, "GET", f"runs/{FIRST}/comparison/cells/{grid['rows'][1]['images'][0]}")))
    assert cell.size == (64, 64)
    assert Image.open(io.BytesIO(call(client, "GET", f"runs/{FIRST}/comparison/image"))).format == "PNG"
    assert call(client, "POST", f"runs/{FIRST}/comparison/stop")["status"] == "finished"


def test_a_step_is_used_and_undone(client: TestClient, host: FakeHost, run: RunState) -> None:
    file = host.info().embeddings_folder / "my-cat.pt"
    before = file.read_bytes()
    used = call(client, "POST", f"runs/{FIRST}/use", {"step": 20})
    assert (used["step"], used["entry"]["step"]) == (20, 20)
    assert call(client, "GET", f"runs/{FIRST}/steps")[1]["in_use"] is True
    call(client, "POST", f"runs/{FIRST}/use/undo", {"trash_id": used["trash_id"]})
    assert file.read_bytes() == before
    call(client, "POST", f"runs/{FIRST}/use/undo", {"trash_id": "none"}, status=404)


def test_embeddings_are_compared(client: TestClient, services: Services, run: RunState) -> None:
    assert call(client, "POST", "comparison", {"embeddings": ["my-cat"], "prompts": ["[name]"]})["total"] == 1
    services.comparing.wait("", 60)
    grid = call(client, "GET", "comparison")
    key = grid["rows"][0]["images"][0]
    assert Image.open(io.BytesIO(call(client, "GET", f"comparison/cells/{key}"))).size == (64, 64)
    assert call(client, "GET", "comparison/image")[:4] == b"\x89PNG"
    assert call(client, "POST", "comparison/stop")["status"] == "finished"


@pytest.mark.parametrize(
    "body",
    [
        {"prompts": "a"}, {"prompts": [3]}, {"prompts": []}, {"steps": ["1"]}, {"steps": [True]}, {"steps": [7]}, {"steps": 3},
        {"seed": "1"}, {"seed": -1}, {"seed": 1.5}, {"guidance": None}, {"width": 3}, {"height": 10**6},
        {"sampling_steps": 10**9}, {"negative_prompt": 3}, {"unknown": 1}, {"prompts": ["x"] * 17},
    ],
)  # fmt: skip
def test_what_cannot_be_drawn_is_refused(client: TestClient, run: RunState, body: dict[str, Any]) -> None:
    assert set(call(client, "POST", f"runs/{FIRST}/comparison", body, status=422)) == {"error", "hint"}
    call(client, "GET", f"runs/{FIRST}/comparison", status=404)


@pytest.mark.parametrize("body", [{}, {"step": "1"}, {"step": None}, {"step": True}, {"step": 1, "more": 2}])
def test_only_a_number_is_a_step(client: TestClient, run: RunState, body: dict[str, Any]) -> None:
    call(client, "POST", f"runs/{FIRST}/use", body, status=422)


@pytest.mark.parametrize("step", [7, -1])
def test_a_step_that_was_not_kept_is_not_found(client: TestClient, run: RunState, step: int) -> None:
    call(client, "POST", f"runs/{FIRST}/use", {"step": step}, status=404)


def test_the_tab_shows_images_by_their_address(images: TestClient, services: Services, run: RunState) -> None:
    grid = services.comparing.wait(services.comparing.start(FIRST).id, 60)
    key = grid.keys[0][0]
    large, small = (images.get(f"{IMAGES}/runs/{FIRST}/cells/{key}.{suffix}") for suffix in ("png", "jpg"))
    assert (large.headers["content-type"], small.headers["content-type"]) == ("image/png", "image/jpeg")
    assert large.headers["x-content-type-options"] == "nosniff"
    assert "immutable" in small.headers["cache-control"]
    assert images.get(f"{IMAGES}/runs/{FIRST}/grid.png").content[:4] == b"\x89PNG"
    for path in (f"runs/{FIRST}/cells/{'0' * 32}.png", "runs/none/grid.png", f"runs/{FIRST}/dataset/0.jpg"):
        assert images.get(f"{IMAGES}/{path}").status_code == 404
    assert images.get(f"{IMAGES}/runs/{FIRST}/dataset/x.jpg").status_code == 422
    assert images.get(f"{IMAGES}/runs/..%2f..%2fsettings/cells/{key}.png").status_code == 404


def test_the_tab_shows_images_of_embeddings_by_their_address(
    images: TestClient, services: Services, run: RunState, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = services.comparing.wait(services.comparing.start_embeddings(["my-cat"], runs=[FIRST]).id, 60)
    large, small = (images.get(f"{IMAGES}/embeddings/cells/{grid.keys[1][0]}.{suffix}") for suffix in ("png", "jpg"))
    assert (large.headers["content-type"], small.headers["content-type"]) == ("image/png", "image/jpeg")
    sheet = images.get(f"{IMAGES}/embeddings/grid.png")
    assert (sheet.content[:4], sheet.headers["content-disposition"]) == (b"\x89PNG", "inline; filename*=UTF-8''comparison.png")
    assert images.get(f"{IMAGES}/embeddings/cells/{'0' * 32}.png").status_code == 404
    monkeypatch.setattr("train_embedding.services.comparing.comparing.can_draw", lambda _text: True)
    with Image.open(io.BytesIO(images.get(f"{IMAGES}/embeddings/grid.png?language=zh_CN").content)) as chinese:
        assert f"第 40 步 · {FIRST}" in chinese.info["parameters"]
    assert images.get(f"{IMAGES}/embeddings/grid.png?language=xx").content == sheet.content


def test_the_folder_of_a_run_may_have_any_name(images: TestClient, services: Services, run: RunState) -> None:
    services.comparing.wait(services.comparing.start(FIRST).id, 60)
    run.folder.rename(run.folder.with_name("my 猫"))
    sheet = images.get(f"{IMAGES}/runs/my%20%E7%8C%AB/grid.png")
    assert sheet.content[:4] == b"\x89PNG"
    assert sheet.headers["content-disposition"] == "inline; filename*=UTF-8''my%20%E7%8C%AB.png"


def test_who_may_not_see_the_page_sees_no_images(services: Services, run: RunState) -> None:
    def refuse() -> None:
        raise HTTPException(401)

    app = FastAPI()
    mount_page_images(app, services, [Depends(refuse)])
    with TestClient(app) as client:
        assert client.get(f"{IMAGES}/runs/{FIRST}/grid.png").status_code == 401


def test_in_a_webui_the_log_in_of_its_page_protects_the_images(
    services: Services, run: RunState, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webui, "services", lambda: services)
    services.comparing.wait(services.comparing.start(FIRST).id, 60)
    names: list[str] = []

    def check_log_in() -> None:
        if not names:
            raise HTTPException(401)

    app = FastAPI()
    assert not webui.mount_page_images(app)  # without a page
    app.add_api_route("/file={path_or_url:path}", lambda: None, dependencies=[Depends(check_log_in)])
    assert webui.mount_page_images(app)  # though the API is off
    with TestClient(app) as client:
        address = f"{IMAGES}/runs/{FIRST}/grid.png"
        assert client.get(address).status_code == 401
        names.append("me")
        assert client.get(address).status_code == 200
        assert "images" not in str(client.get("/openapi.json").json()["paths"])
