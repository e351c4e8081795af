"""What the routes let in inside a host, where no middleware of ours stands in front of them."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("fastapi")

from fastapi import FastAPI
from starlette.testclient import TestClient

from tests.current import CurrentServices
from tests.memory import taken_by
from train_embedding.api import routes
from train_embedding.api.json_size import MAX_DEPTH, MAX_NODES, check_json_size
from train_embedding.api.origins import allows
from train_embedding.errors import InvalidInput
from train_embedding.services import Services
from train_embedding.testing import FakeHost
from train_embedding.webui import mount_api

JSON = {"Content-Type": "application/json"}
BODY = b'{"name": "made"}'
CREATE = f"{routes.PREFIX}/embeddings"


@pytest.fixture(scope="module")
def shared_client(current_services: CurrentServices) -> TestClient:
    app = FastAPI()
    allowed = allows(["https://friend.example"], r"https://\w+\.friends\.example")
    routes.mount(app, current_services, allowed=allowed)  # pyright: ignore[reportArgumentType]
    return TestClient(app, base_url="http://my.example")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://my.example"},
        {"Origin": "http://my.example", "Sec-Fetch-Site": "same-origin"},
        {"Origin": "https://behind.a.proxy.example", "Sec-Fetch-Site": "same-origin"},
        {"Origin": "https://friend.example", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "https://one.friends.example"},
    ],
)
def test_own_pages_programs_and_allowed_origins_may(client: TestClient, headers: dict[str, str]) -> None:
    assert client.post(CREATE, content=BODY, headers={**JSON, **headers}).status_code == 200


FOREIGN = [
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://evil.example", "X-Forwarded-Host": "evil.example"},
    {"Origin": "https://friend.example.evil.example"},
    {"Origin": "https://one.friends.example.evil.example"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Referer": "http://evil.example/"},
]


@pytest.mark.parametrize("headers", FOREIGN)
def test_pages_of_other_sites_may_not(client: TestClient, tmp_path: Path, headers: dict[str, str]) -> None:
    refused = client.post(CREATE, content=BODY, headers={**JSON, **headers})
    assert refused.status_code == 403
    assert set(refused.json()) == {"error", "hint"}
    for method, path in (
        ("DELETE", "/trash"),
        ("POST", "/runs/x/stop"),
        ("POST", "/trash/x/restore"),
        ("PUT", "/embeddings/x/preview"),
    ):
        assert client.request(method, routes.PREFIX + path, headers={**JSON, **headers}).status_code == 403
    assert list(tmp_path.rglob("made*")) == []


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonp", None]
)
def test_a_body_must_say_that_it_is_json(client: TestClient, tmp_path: Path, kind: str | None) -> None:
    refused = client.post(CREATE, content=BODY, headers={"Content-Type": kind} if kind else {})
    assert refused.status_code == 415
    assert set(refused.json()) == {"error", "hint"}
    assert "application/json" in refused.json()["hint"]
    assert list(tmp_path.rglob("made*")) == []


def test_json_may_name_its_encoding_and_no_body_needs_no_type(client: TestClient) -> None:
    assert client.post(CREATE, content=BODY, headers={"Content-Type": "Application/JSON; charset=utf-8"}).status_code == 200
    assert client.delete(f"{routes.PREFIX}/trash").status_code == 200
    assert client.post(f"{routes.PREFIX}/runs/none/stop").status_code == 404


def test_in_a_webui_the_same_rules_hold(fake_host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    from train_embedding import webui

    monkeypatch.setattr(webui, "services", lambda: Services(fake_host))
    app = FastAPI()
    app.add_api_route("/sdapi/v1/embeddings", lambda: "its own list")
    assert mount_api(app)
    client = TestClient(app)
    for headers, status in (({}, 200), ({"Origin": "http://evil.example"}, 403), ({"Content-Type": "text/plain"}, 415)):
        assert (
            client.post(CREATE, content=BODY.replace(b"made", b"m%d" % status), headers={**JSON, **headers}).status_code == status
        )


DEEP = b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1)
TOO_MUCH = [
    b"[" + b"[]," * MAX_NODES + b"[]]",
    b"{" + b'"":0,' * MAX_NODES + b'"":0}',
    b"[" + b'"",' * 5 * MAX_NODES + b'""]',
    b'["\\\\",' + b"[]," * MAX_NODES + b"[]]",
    b'["\\"' + b'",[]' * MAX_NODES + b"]",
    b"[" * 10_000_000,
    DEEP,
]


@pytest.mark.parametrize("data", TOO_MUCH, ids=range(len(TOO_MUCH)))
def test_too_many_values_and_levels_are_refused_before_they_are_read(data: bytes) -> None:
    with pytest.raises(InvalidInput, match="The body has more than"):
        check_json_size(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        DEEP[1:-1],
        b'{"text": "' + b"[,{" * MAX_NODES + b'"}',
        b'{"text": "' + rb"\"[,\\" * MAX_NODES + b'"}',
        b'{"content": "' + b"QUJD" * 2**20 + b'"}',
    ],
    ids=range(6),
)
def test_long_texts_are_no_values(data: bytes) -> None:
    check_json_size(data)


def refuse_brackets() -> str:
    from train_embedding.api import bodies
    from train_embedding.errors import TrainEmbeddingError

    try:
        bodies._parsed(b"[" + b"[]," * (8 * 2**20 - 1) + b"[]]")
    except TrainEmbeddingError as problem:
        return problem.message
    return ""


def test_25_mb_of_brackets_take_no_gigabytes() -> None:
    taken = taken_by(refuse_brackets)
    assert taken.answer == f"The body has more than {MAX_NODES:,} values."
    assert taken.memory < 150
    assert taken.seconds < 2
