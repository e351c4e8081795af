"""The routes that inspect, merge and convert embeddings, with the services and a host with a vocabulary."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

pytest.importorskip("fastapi")

from starlette.testclient import TestClient

from tests.words import put, vocabulary_host
from train_embedding.api import routes
from train_embedding.testing import FakeHost


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    host = vocabulary_host(tmp_path, {"clip_l": 12})
    put(host, "my cat", {"clip_l": torch.eye(12)[:4] + 0.5})
    return host


def get(client: TestClient, path: str) -> Any:
    return client.get(f"{routes.PREFIX}/{path}")


def post(client: TestClient, path: str, body: Any) -> Any:
    return client.post(f"{routes.PREFIX}/{path}", content=json.dumps(body).encode(), headers={"Content-Type": "application/json"})


def test_inspecting(client: TestClient) -> None:
    report = get(client, "embeddings/my%20cat?top=3&text=red&neighbours=2").json()
    assert (report["name"], report["count"], report["reference"]) == ("my cat", 4, 'the text "red"')
    (encoder,) = report["encoders"]
    assert [len(vector["nearest"]) for vector in encoder["vectors"]] == [3] * 4
    assert len(encoder["similarity"]) == 4
    assert get(client, "embeddings/none").status_code == 404


@pytest.mark.parametrize("query", ["top=-1", "top=x", "top=101", "top=1.5", "neighbours=%00", "top=" + "9" * 50, "top=٣"])
def test_wrong_queries_get_a_sentence(client: TestClient, query: str) -> None:
    refused = get(client, f"embeddings/my%20cat?{query}")
    assert refused.status_code == 422
    assert set(refused.json()) == {"error", "hint"}


def test_the_similarity_is_an_image(client: TestClient) -> None:
    answer = get(client, "embeddings/my%20cat/similarity.png")
    assert answer.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(answer.content)).size == (300, 300)


def test_half_a_character_is_refused(client: TestClient) -> None:
    answer = post(client, "tokens", {"prompt": "caf\udce9"})
    assert (answer.status_code, answer.json()["error"]) == (422, "The text contains bytes that are not characters.")


def test_many_vectors_have_no_similarity(client: TestClient, host: FakeHost) -> None:
    put(host, "many", {"clip_l": torch.ones(257, 12)})
    report = get(client, "embeddings/many").json()
    assert (report["count"], report["encoders"][0]["similarity"]) == (257, [])
    assert "shown for at most 256" in report["warnings"][0]
    refused = get(client, "embeddings/many/similarity.png")
    assert refused.status_code == 404
    assert "shown for at most 256" in refused.json()["error"]


def test_a_file_of_more_vectors_than_an_embedding_has_is_a_sentence(client: TestClient, host: FakeHost) -> None:
    file = host.info().embeddings_folder / "evil.pt"
    torch.save({"emb_params": torch.ones(1).expand(60_000, 64)}, file, _use_new_zipfile_serialization=False)
    for path in ("embeddings/evil", "embeddings/evil/similarity.png"):
        refused = get(client, path)
        assert refused.status_code == 422
        assert "60000 vectors; at most 1000 are allowed" in refused.json()["error"]


def test_tokens(client: TestClient) -> None:
    read = post(client, "tokens", {"prompt": "a my cat AND b"}).json()
    assert (read["count"], read["remaining"], read["embeddings"]) == (5, 70, ["my cat"])
    assert len(post(client, "tokens", {"prompt": "a AND b", "negative": True}).json()["parts"]) == 1
    for wrong in ({}, {"prompt": 3}, {"prompt": "a", "step": "1"}, {"prompt": "a", "negative": 1}, {"prompt": "a", "x": 1}):
        assert post(client, "tokens", wrong).status_code == 422


def test_a_dry_run_shows_and_saves_nothing(client: TestClient, host: FakeHost) -> None:
    body = {"expression": "'my cat'[0] + \"red\"", "dry_run": True, "preview_prompt": "a [name]", "top": 2}
    result = post(client, "embeddings/merge", body).json()
    assert (result["count"], result["entry"], result["made_from"]) == (1, None, body["expression"])
    assert len(result["encoders"][0]["vectors"][0]["nearest"]) == 2
    assert Image.open(io.BytesIO(base64.b64decode(result["image"]))).size == (64, 64)
    assert host.requests[0].prompt == "a combined"
    assert len(get(client, "embeddings").json()) == 1


def test_a_result_is_saved(client: TestClient, host: FakeHost) -> None:
    body = {"expression": "'my cat' & \"red castle\"", "name": "zork"}
    result = post(client, "embeddings/merge", body).json()
    assert (result["entry"]["name"], result["entry"]["vectors"], result["image"]) == ("zork", 6, None)
    assert post(client, "embeddings/merge", {**body, "preview_prompt": "a [name]"}).status_code == 409
    assert host.requests == [], "refused before anything is drawn"
    assert post(client, "embeddings/merge", {**body, "overwrite": True}).status_code == 200


def test_mistakes_have_their_column(client: TestClient) -> None:
    refused = post(client, "embeddings/merge", {"expression": "'my cat' + cat", "dry_run": True})
    assert refused.status_code == 422
    assert (set(refused.json()), refused.json()["column"]) == ({"error", "hint", "column"}, 12)


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"expression": "'my cat'"},
        {"expression": 3, "name": "x"},
        {"expression": "'my cat'", "name": "a/b"},
        {"expression": "'my cat'", "name": "x", "dry_run": "yes"},
        {"expression": "'my cat'", "name": "x", "top": -1},
        {"expression": "'my cat'", "name": "x", "colour": "red"},
    ],
)
def test_wrong_merges_get_a_sentence_and_save_nothing(client: TestClient, wrong: dict[str, Any]) -> None:
    refused = post(client, "embeddings/merge", wrong)
    assert refused.status_code == 422
    assert {"error", "hint"} <= set(refused.json())
    assert len(get(client, "embeddings").json()) == 1


def test_convert(client: TestClient) -> None:
    converted = post(client, "embeddings/my%20cat/convert", {"to": "pt", "name": "zork"}).json()
    assert (converted["name"], converted["vectors"], Path(converted["file"]).name) == ("zork", 4, "zork.pt")
    assert post(client, "embeddings/my%20cat/convert", {"to": "sdxl"}).status_code == 409
    assert post(client, "embeddings/none/convert", {"to": "pt"}).status_code == 404
    for wrong in ({}, {"to": "gif"}, {"to": 1}, {"to": "pt", "name": "a/b"}):
        assert post(client, "embeddings/my%20cat/convert", wrong).status_code == 422
