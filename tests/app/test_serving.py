"""The app as it is served: what many requests, and slow ones, cannot do."""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import threading
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

pytest.importorskip("gradio")

from tests.app.conftest import PREFIX
from train_embedding.app import connections
from train_embedding.hosts.base import Txt2ImgRequest
from train_embedding.services.waiting import MAX_WAITING
from train_embedding.testing import FakeHost

API = "train-embedding/v1/"
DRAWINGS = 60


class SlowHost(FakeHost):
    """Draws nothing until it is told to."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.go = threading.Event()

    def txt2img(self, request: Txt2ImgRequest) -> Any:
        assert self.go.wait(120)
        return super().txt2img(request)


@pytest.fixture
def fake_host(tmp_path: Path) -> SlowHost:
    return SlowHost(tmp_path)


def send(address: str, method: str, body: Any = None, timeout: float = 120) -> tuple[int, str]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, data, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as problem:
        with problem:
            return problem.code, problem.read().decode()


def function_of(address: str, button: str) -> int:
    config = json.loads(send(f"{address}config", "GET")[1])
    ids = {one["id"] for one in config["components"] if one["props"].get("elem_id") == button}
    for number, one in enumerate(config["dependencies"]):
        if ids & {target[0] if isinstance(target, list) else target for target in one["targets"]}:
            return one.get("id", number)
    raise AssertionError(button)


def test_drawings_that_wait_block_nothing_and_have_an_end(serving: str, fake_host: SlowHost) -> None:
    assert send(f"{serving}{API}embeddings", "POST", {"name": "x"})[0] == 200
    predict = f"{serving.rstrip('/')}{PREFIX}/run/predict"
    generate, poll = function_of(serving, "txt2img_generate"), function_of(serving, "te_train_poll")

    def draw(number: int) -> str:
        if number % 2:
            return send(f"{serving}{API}embeddings/x/preview", "PUT", {"prompt": "[name]"})[1]
        data = ["a cat", "", 2, 5, 1, 64, 64]
        return send(predict, "POST", {"fn_index": generate, "data": data})[1]

    with ThreadPoolExecutor(DRAWINGS) as people:
        try:
            asked = [people.submit(draw, number) for number in range(DRAWINGS)]
            refused = [one.result() for one in itertools.islice(as_completed(asked, 120), DRAWINGS - MAX_WAITING - 1)]
            assert all("already waiting for the model" in answer for answer in refused)
            assert send(f"{serving}{API}runs", "GET", timeout=20) == (200, "[]")
            assert send(f"{serving}{API}runs/none/stop", "POST", timeout=20)[0] == 404
            assert send(serving, "GET", timeout=20)[0] == 200
            polled = {"fn_index": poll, "data": [None, ""], "session_hash": "page"}
            assert send(predict, "POST", polled, timeout=20)[0] == 200
            assert not fake_host.go.is_set(), "all of these were answered while the drawings waited"
            assert sum(one.done() for one in asked) == len(refused)
        finally:
            fake_host.go.set()
        drawn = [one.result() for one in asked]
    assert sum("already waiting for the model" in answer for answer in drawn) == len(refused)
    assert send(f"{serving}{API}embeddings/x/preview", "PUT", {"prompt": "[name]"})[0] == 200, "there is room again"


def test_the_api_says_that_it_is_busy_in_its_form(serving: str, fake_host: SlowHost) -> None:
    assert send(f"{serving}{API}embeddings", "POST", {"name": "x"})[0] == 200
    with ThreadPoolExecutor(MAX_WAITING + 2) as people:
        try:
            asked = [
                people.submit(send, f"{serving}{API}embeddings/x/preview", "PUT", {"prompt": "[name]"})
                for _ in range(MAX_WAITING + 2)
            ]
            status, answer = next(as_completed(asked, 120)).result()
            assert status == 503
            assert set(json.loads(answer)) == {"error", "hint"}
        finally:
            fake_host.go.set()


def opened(address: str) -> socket.socket:
    connection = socket.create_connection((urlsplit(address).hostname, urlsplit(address).port), timeout=20)
    connection.settimeout(20)
    return connection


HEAD = b"GET /train-embedding/v1/runs HTTP/1.1\r\nHost: 127.0.0.1\r\n"


def told_until_closed(connection: socket.socket) -> bytes:
    """What comes before the server closes the connection, one byte of a head that never ends being sent every 0.1 s."""
    told = b""
    connection.settimeout(0.1)
    for _ in range(600):
        try:
            connection.sendall(b"x")
            received = connection.recv(2000)
        except TimeoutError:
            continue
        except OSError:
            return told
        if not received:
            return told
        told += received
    raise AssertionError("it is still open")


def test_a_head_that_never_ends_is_given_up(serving: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 1.0)
    with opened(serving) as silent, opened(serving) as slow, opened(serving) as second:
        second.sendall(HEAD + b"\r\n" + b"GE")
        assert told_until_closed(slow) == b""
        assert told_until_closed(second).startswith(b"HTTP/1.1 200")
        assert silent.recv(100) == b""


def test_there_are_only_so_many_connections(serving: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 3)
    with opened(serving) as first, opened(serving), opened(serving):
        first.sendall(HEAD + b"\r\n")
        assert first.recv(2000).startswith(b"HTTP/1.1 200")
        with opened(serving) as one_more, contextlib.suppress(ConnectionResetError):
            assert one_more.recv(100) == b""
