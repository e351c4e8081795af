"""The middleware alone: which requests reach the app, and what every answer carries."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest

pytest.importorskip("uvicorn")

from tests.failures import Failures
from train_embedding.app import bodies
from train_embedding.app.access import Access
from train_embedding.app.guard import Guard

HOST = "127.0.0.1:7860"
OWN = {"Host": HOST, "Origin": f"http://{HOST}", "Sec-Fetch-Site": "same-origin"}
API = "/train-embedding/v1/embeddings"
BASIC = {"Authorization": "Basic " + base64.b64encode(b"me:open sesame").decode()}


class Inner:
    """An application that answers everything, as gradio does: with permission for every other origin."""

    def __init__(self) -> None:
        self.reached = 0
        self.body = b""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.reached += 1
        if scope["type"] == "websocket":
            self.body = (await receive()).get("text", "").encode()
            return
        more = scope["method"] not in ("GET", "HEAD")
        while more:
            message = await receive()
            self.body += message.get("body", b"")
            more = message.get("more_body", False)
        headers = [(b"access-control-allow-origin", b"*"), (b"access-control-allow-credentials", b"true")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"inside"})


def request(
    method: str,
    path: str,
    headers: dict[str, str],
    access: Access | None = None,
    parts: tuple[bytes, ...] = (b"",),
    inner: Inner | None = None,
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the answer; a websocket's status is 101 where it is let in, else 403."""
    inner = inner or Inner()
    path, _, query = path.partition("?")
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    kind = "websocket" if method == "WS" else "http"
    scope = {"type": kind, "path": path, "query_string": query.encode(), "headers": raw}
    if kind == "http":
        scope["method"] = method
    sent: list[Any] = []
    waiting = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    waiting[-1]["more_body"] = False

    async def receive() -> Any:
        return {"type": "websocket.receive", "text": parts[0].decode()} if kind == "websocket" else waiting.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(Guard(inner, access or Access())(scope, receive, send))
    if kind == "websocket":
        return (101 if inner.reached else 403), {}, b""
    answered = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], answered, b"".join(message.get("body", b"") for message in sent[1:])


FOREIGN = {"Host": HOST, "Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"}
LINK = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
TABLE = [
    # programs name no origin
    ("GET", {"Host": HOST}, 200),
    ("POST", {"Host": HOST}, 200),
    ("DELETE", {"Host": HOST}, 200),
    ("OPTIONS", {"Host": HOST}, 200),
    ("WS", {"Host": HOST}, 101),
    # our own pages
    ("POST", OWN, 200),
    ("POST", {"Host": HOST, "Origin": f"http://{HOST}"}, 200),
    ("POST", {"Host": "localhost", "Origin": "http://localhost:80"}, 200),
    ("POST", {"Host": "localhost:7860", "Origin": "http://LOCALHOST:7860"}, 200),
    ("POST", {"Host": "[::1]:7860", "Origin": "http://[::1]:7860"}, 200),
    ("POST", {"Host": HOST, "Referer": f"http://{HOST}/page"}, 200),
    ("POST", {"Host": HOST, "Sec-Fetch-Site": "none"}, 200),
    ("WS", OWN, 101),
    ("GET", {**OWN, "Sec-Fetch-Mode": "cors"}, 200),
    # a person follows a link
    ("GET", {"Host": HOST, **LINK}, 200),
    # pages of other sites
    ("POST", FOREIGN, 403),
    ("PUT", FOREIGN, 403),
    ("PATCH", FOREIGN, 403),
    ("DELETE", FOREIGN, 403),
    ("OPTIONS", FOREIGN, 403),
    ("OPTIONS", {"Host": HOST, "Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}, 403),
    ("QUERY", FOREIGN, 403),
    ("WS", FOREIGN, 403),
    ("POST", {"Host": HOST, "Origin": "http://evil.example"}, 403),
    ("POST", {"Host": HOST, "Origin": "null"}, 403),
    ("POST", {"Host": HOST, "Origin": "http://127.0.0.1:8000"}, 403),
    ("POST", {"Host": HOST, "Origin": "http://127.0.0.1"}, 403),
    ("POST", {"Host": HOST, "Origin": f"http://{HOST}.evil.example"}, 403),
    ("POST", {"Host": HOST, "Origin": f"http://{HOST}@evil.example"}, 403),
    ("POST", {"Host": HOST, "Origin": "http://evil.example", "X-Forwarded-Host": "evil.example"}, 403),
    ("POST", {"Host": HOST, "Referer": "http://evil.example/page"}, 403),
    ("POST", {"Host": HOST, "Sec-Fetch-Site": "same-site"}, 403),
    ("POST", {"Host": HOST, **LINK}, 403),
    ("GET", {"Host": HOST, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}, 403),
    ("GET", {"Host": HOST, "Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"}, 403),
    ("GET", {"Host": HOST, **LINK, "Sec-Fetch-Dest": "iframe"}, 403),
    # other names that lead here
    *[
        (method, {"Host": name}, 403)
        for method in ("GET", "HEAD", "POST", "WS")
        for name in (
            "evil.example:7860", "evil.example", "", "0.0.0.0:7860", "192.168.1.5:7860", "2130706433", "0x7f000001", "127.1",
            "localhost.evil.example", "127.0.0.1.evil.example", "127.0.0.1@evil.example", "localhost.", "[::]:7860",
            "127.0.0.1:7860/", "127.0.0.1 ", "[::1", "::1",
        )
    ],
    ("POST", {"Host": "evil.example", "Origin": "http://evil.example", "Sec-Fetch-Site": "same-origin"}, 403),
]  # fmt: skip


@pytest.mark.parametrize("path", ["/", API, "/gradio_api/queue/join"])
def test_what_is_let_in(path: str) -> None:
    with Failures() as failures:
        for method, headers, status in TABLE:
            inner = Inner()
            with failures.of(f"{method} {headers}"):
                assert request(method, path, headers, inner=inner)[0] == status
                assert inner.reached == (status in (101, 200))


@pytest.mark.parametrize(
    ("access", "known", "unknown"),
    [
        (Access(names=("my.example",)), ["my.example", "MY.example:443", "localhost:1"], ["other.my.example", "10.0.0.1"]),
        (Access("0.0.0.0"), ["10.0.0.1:7860", "[fe80::1]:7860", "127.0.0.1"], ["evil.example", "0.0.0.0", "167772161"]),
        (Access("192.168.1.5"), ["192.168.1.5:7860", "localhost"], ["192.168.1.6", "evil.example"]),
        (Access("fe80::1"), ["[fe80::1]:7860"], ["[fe80::2]:7860"]),
    ],
)
def test_names_of_the_server(access: Access, known: list[str], unknown: list[str]) -> None:
    assert [access.is_own_host(name) for name in known] == [True] * len(known)
    assert [access.is_own_host(name) for name in unknown] == [False] * len(unknown)


def test_every_answer_carries_the_headers() -> None:
    for path, headers in (("/", {"Host": HOST}), ("/", {"Host": "evil.example"}), (API, FOREIGN)):
        answered = request("GET" if headers is not FOREIGN else "POST", path, headers)[1]
        assert answered["content-security-policy"] == "frame-ancestors 'self'"
        assert answered["x-content-type-options"] == "nosniff"
        assert answered["cross-origin-resource-policy"] == "same-origin"
        assert answered["referrer-policy"] == "same-origin"
        assert [name for name in answered if name.startswith("access-control")] == []


def test_uploaded_files_run_nothing() -> None:
    for path in ("/file=/tmp/a.html", "/gradio_api/file=/tmp/a.html", "/file/tmp/a.svg"):
        assert "sandbox" in request("GET", path, {"Host": HOST})[1]["content-security-policy"]


def test_refusals_of_the_api_have_its_form() -> None:
    status, headers, body = request("POST", API, FOREIGN)
    assert (status, headers["content-type"]) == (403, "application/json")
    assert set(json.loads(body)) == {"error", "hint"}


ACCOUNTS = Access("0.0.0.0", accounts=("you:other", "me:open sesame"))
TOKEN = Access("0.0.0.0", token="s3cret")


@pytest.mark.parametrize("path", ["/", API, "/file=x", "/gradio_api/queue/data", "/train-embedding/static/style.css"])
def test_nothing_is_answered_without_a_password(path: str) -> None:
    for access in (ACCOUNTS, TOKEN):
        for method, status in (("GET", 401), ("POST", 401), ("WS", 403)):
            wrong = [{}, {"Authorization": "Basic "}, {"Authorization": "Basic bWU6"}, {"Authorization": "Bearer "}]
            for headers in [*wrong, {"Cookie": f"{access.cookie}="}, {"Cookie": f"{access.cookie}=x; a"}, {"Authorization": "x"}]:
                assert request(method, path, {"Host": HOST, **headers}, access)[0] == status
        assert request("GET", f"{path}?token=", {"Host": HOST}, access)[0] == 401
        assert request("GET", f"{path}?token=wrong", {"Host": HOST}, access)[0] == 401


def test_a_password_opens_and_leaves_a_cookie_that_opens_too() -> None:
    status, headers, _ = request("GET", "/", {"Host": HOST, **BASIC}, ACCOUNTS)
    assert status == 200
    cookie, *rules = headers["set-cookie"].split("; ")
    assert rules == ["HttpOnly", "SameSite=Strict", "Path=/"]
    assert "sesame" not in cookie
    for method, let_in in (("GET", 200), ("POST", 200), ("WS", 101)):
        status, headers, _ = request(method, "/", {"Host": HOST, "Cookie": f"other=1; {cookie}"}, ACCOUNTS)
        assert status == let_in
        assert "set-cookie" not in headers
    assert request("GET", API, {"Host": HOST}, ACCOUNTS)[1]["www-authenticate"].startswith("Basic")


def test_a_password_is_no_way_around_the_other_rules() -> None:
    assert request("POST", API, {**FOREIGN, **BASIC}, ACCOUNTS)[0] == 403
    assert request("GET", API, {"Host": "evil.example", **BASIC}, ACCOUNTS)[0] == 403


def test_a_token_opens_the_page_and_the_api() -> None:
    status, headers, body = request("GET", "/?token=s3cret", {"Host": HOST, **LINK}, TOKEN)
    assert status == 200
    assert b"refresh" in body, "so that the token leaves the address"
    assert headers["set-cookie"].startswith(TOKEN.cookie)
    for path, more in ((f"{API}?token=s3cret", {}), (API, {"Authorization": "Bearer s3cret"})):
        assert request("POST", path, {"Host": HOST, **more}, TOKEN)[::2] == (200, b"inside")


def test_two_apps_on_one_machine_have_cookies_of_their_own() -> None:
    assert Access(token="a").cookie != Access(token="a").cookie


@pytest.mark.parametrize("path", ["/run/predict", API, "/upload"])
def test_a_body_that_is_too_large_is_not_read(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "largest", lambda _path: 1000)
    assert request("POST", path, {**OWN, "Content-Length": "1001"})[0] == 413
    inner = Inner()
    assert request("POST", path, OWN, parts=(b"x" * 600, b"x" * 401, b"x"), inner=inner)[0] == 413
    assert len(inner.body) <= 1000
    assert request("POST", path, OWN, parts=(b"x" * 600, b"x" * 400))[0] == 200


def test_the_bounds_by_route() -> None:
    assert bodies.largest("/gradio_api/upload") == bodies.UPLOAD_BYTES
    assert bodies.largest("/train-embedding/v1/embeddings/import") < bodies.UPLOAD_BYTES
    assert bodies.largest("/queue/join") == bodies.PAGE_BYTES


def test_what_pages_send_has_few_values() -> None:
    many = b"[" + b"[]," * bodies.PAGE_NODES + b"[]]"
    inner = Inner()
    assert request("POST", "/run/predict", OWN, parts=(many[:500], many[500:]), inner=inner)[0] == 413
    assert inner.reached == 0
    assert request("POST", "/run/predict", OWN, parts=(b'["', b'a"]'), inner=inner)[0] == 200
    assert inner.body == b'["a"]'
    socket = Inner()
    request("WS", "/queue/join", OWN, parts=(many,), inner=socket)
    assert socket.body == b""


def test_a_body_that_does_not_come_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "CHUNK_SECONDS", 0.05)

    async def never() -> Any:
        await asyncio.Event().wait()

    async def refused() -> int:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        raw = [(name.lower().encode(), value.encode()) for name, value in OWN.items()]
        scope = {"type": "http", "method": "POST", "path": "/run/predict", "query_string": b"", "headers": raw}
        await Guard(Inner(), Access())(scope, never, send)
        return sent[0]["status"]

    assert asyncio.run(refused()) == 408
