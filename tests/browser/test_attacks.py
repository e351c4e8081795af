"""What a page of another site tries on the standalone app, in Chromium: each of it must get nothing and change nothing.

The foreign page comes from a server of its own on another port, under 127.0.0.1 and under evil.example, which the browser is told
lies on this machine: so a name can also be rebound to the app's port.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gradio")

from tests.chromium import launched
from train_embedding.ui.gradio_compat import MAJOR

pytestmark = [pytest.mark.browser, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
API = "/train-embedding/v1"
GRADIO = "/gradio_api" if MAJOR >= 5 else ""
SERVE = """
import sys
from pathlib import Path
from train_embedding.app import server
from train_embedding.app.access import Access
from train_embedding.testing import FakeHost
from train_embedding.services import Services
access = Access(sys.argv[2], token=sys.argv[3])
server.serve(Services(FakeHost(Path(sys.argv[1]))), 0, access)
"""
SECONDS = 180
FIRST = "first"
"The embedding that is there before the attacks."


class Foreign(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>foreign</title><body></body>")

    def log_message(self, format: str, *args: Any) -> None:
        pass


@dataclass
class Served:
    folder: Path
    address: str

    @property
    def port(self) -> int:
        return int(self.address.rsplit(":", 1)[1])

    def state(self) -> list[tuple[str, int]]:
        """Everything that lies in its folder but the index, with times."""
        files = (file for file in self.folder.rglob("*") if file.is_file() and "library" not in file.parts)
        return sorted((str(file.relative_to(self.folder)), file.stat().st_mtime_ns) for file in files)


def served(folder: Path, host: str = "127.0.0.1", token: str = "") -> Iterator[Served]:
    command = [sys.executable, "-c", SERVE, str(folder), host, token]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env={**os.environ, "no_proxy": "*"}) as process:
        assert process.stdout is not None
        try:
            found = re.search(r"Running on (http://[^/\s]+)", process.stdout.readline())
            assert found, "the server did not start"
            yield Served(folder, found[1])
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    yield from served(tmp_path_factory.mktemp("attacked"))


@pytest.fixture(scope="module")
def foreign() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Foreign) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def page(browser: Any, app: Served) -> Iterator[Any]:
    """A page of a Chromium for which evil.example and rebound.example lie on this machine."""
    rules = "--host-resolver-rules=MAP *.example 127.0.0.1"
    attacked = launched(browser.browser_type, rules)
    page = attacked.new_page()
    page.goto(app.address + "/")
    made = page.evaluate(CREATE, [app.address, FIRST])
    assert made["status"] == 200, "the app's own page may do all of this"
    yield page
    attacked.close()


CREATE = """async ([address, name]) => {
  const answer = await fetch(address + "/train-embedding/v1/embeddings", {
    method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify({name, overwrite: true, vectors: 2}),
  });
  return {status: answer.status, text: await answer.text()};
}"""
TRY = """async ([address, options]) => {
  try {
    const answer = await fetch(address, options);
    return {type: answer.type, status: answer.status, text: await answer.text()};
  } catch (error) { return {type: "error", status: 0, text: ""}; }
}"""
SENT = json.dumps({"name": FIRST, "overwrite": True, "vectors": 5})
PLAIN, JSON_TYPE = {"Content-Type": "text/plain"}, {"Content-Type": "application/json"}
PRESS = json.dumps({"data": ["evil", "", "1", True, "tokens"], "fn_index": 0, "session_hash": "evil"})
FETCHES = {
    "text/plain without CORS": (f"{API}/embeddings", {"method": "POST", "mode": "no-cors", "headers": PLAIN, "body": SENT}),
    "text/plain": (f"{API}/embeddings", {"method": "POST", "headers": PLAIN, "body": SENT}),
    "no type": (f"{API}/embeddings", {"method": "POST", "mode": "no-cors", "body": SENT}),
    "JSON with a preflight": (f"{API}/embeddings", {"method": "POST", "headers": JSON_TYPE, "body": SENT}),
    "DELETE": (f"{API}/embeddings/{FIRST}", {"method": "DELETE"}),
    "sanitize without a body": (f"{API}/embeddings/{FIRST}/sanitize", {"method": "POST", "mode": "no-cors"}),
    "stop without a body": (f"{API}/runs/x/stop", {"method": "POST", "mode": "no-cors"}),
    "train": (f"{API}/runs", {"method": "POST", "mode": "no-cors", "body": json.dumps({"embedding": FIRST, "dataset": "/"})}),
    "import": (f"{API}/embeddings/import", {"method": "POST", "mode": "no-cors", "body": json.dumps({"path": "/etc/passwd"})}),
    "read": (f"{API}/embeddings", {}),
    "read without CORS": (f"{API}/embeddings", {"mode": "no-cors"}),
    "read with cookies": (f"{API}/embeddings", {"credentials": "include"}),
    "gradio's config": ("/config", {}),
    "a button of the page": (f"{GRADIO}/run/predict", {"method": "POST", "mode": "no-cors", "headers": PLAIN, "body": PRESS}),
    "a button, as JSON": (f"{GRADIO}/run/predict", {"method": "POST", "headers": JSON_TYPE, "body": PRESS}),
    "the queue": (f"{GRADIO}/queue/join", {"method": "POST", "mode": "no-cors", "body": PRESS}),
    "a file": (f"{GRADIO}/file=/etc/passwd", {}),
}  # fmt: skip
HOSTS = ("127.0.0.1", "evil.example", "localhost")


@pytest.fixture(params=HOSTS)
def attacker(request: pytest.FixtureRequest, page: Any, foreign: int, app: Served) -> Iterator[Any]:
    """The page, showing another site; whatever happens there, the app's folder stays as it is."""
    before = app.state()
    page.goto(f"http://{request.param}:{foreign}/")
    yield page
    page.goto("about:blank")
    assert app.state() == before


@pytest.mark.parametrize("what", FETCHES)
def test_fetch(attacker: Any, app: Served, what: str) -> None:
    path, options = FETCHES[what]
    answer = attacker.evaluate(TRY, [app.address + path, options])
    assert answer["type"] in ("error", "opaque")
    assert answer["text"] == ""


@pytest.mark.parametrize("form", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_a_form(attacker: Any, app: Served, form: str) -> None:
    fill = """([address, type, name]) => {
      const form = Object.assign(document.createElement("form"), {action: address, method: "POST", enctype: type});
      form.append(Object.assign(document.createElement("input"), {name: name, value: '"}'}));
      document.body.append(form); form.submit();
    }"""
    for path in (f"{API}/embeddings", f"{API}/embeddings/{FIRST}/sanitize", f"{GRADIO}/upload", f"{GRADIO}/run/predict"):
        here = attacker.url
        with attacker.expect_response(app.address + path) as answered:
            attacker.evaluate(fill, [app.address + path, form, SENT[:-1] + ', "x": "'])
        assert answered.value.status == 403
        attacker.wait_for_url(app.address + path)
        attacker.goto(here)


def test_pictures_scripts_and_frames(attacker: Any, app: Served) -> None:
    load = """([tag, address]) => new Promise((done) => {
      const element = document.createElement(tag);
      element.onload = () => done(tag === "iframe" ? "loaded" : "shown"); element.onerror = () => done("refused");
      element.src = address; document.body.append(element);
    })"""
    for path in (f"{API}/embeddings", f"{API}/embeddings/{FIRST}/similarity.png", "/train-embedding/static/page.js"):
        for tag in ("img", "script"):
            assert attacker.evaluate(load, [tag, app.address + path]) == "refused"
    with attacker.expect_response(lambda response: response.url == app.address + "/") as answered:
        attacker.evaluate(load, ["iframe", app.address + "/"])
    assert answered.value.status == 403


def test_a_websocket(attacker: Any, app: Served) -> None:
    join = """(address) => new Promise((done) => {
      const socket = new WebSocket(address);
      socket.onopen = () => done("open"); socket.onerror = () => done("refused");
    })"""
    assert attacker.evaluate(join, app.address.replace("http", "ws") + "/queue/join") == "refused"


@pytest.mark.parametrize("name", ["rebound.example", "0.0.0.0"])
def test_a_name_that_leads_to_the_app(page: Any, app: Served, name: str) -> None:
    """The page of the name is the app's own answer: nothing of it may be shown, and nothing be sent from there."""
    before = app.state()
    answer = page.goto(f"http://{name}:{app.port}/")
    assert answer.status == 403
    assert "gradio" not in page.content()
    made = page.evaluate(CREATE, [f"http://{name}:{app.port}", "evil"])
    assert made["status"] == 403
    assert page.evaluate(TRY, [f"http://{name}:{app.port}{API}/embeddings", {}])["status"] == 403
    assert app.state() == before


def test_an_address_written_as_one_number_is_no_other_site(page: Any, app: Served, foreign: int) -> None:
    """Browsers make 127.0.0.1 of it; the request then comes from another site all the same."""
    before = app.state()
    page.goto(f"http://2130706433:{foreign}/")
    for path, options in FETCHES.values():
        answer = page.evaluate(TRY, [f"http://2130706433:{app.port}{path}", options])
        assert (answer["type"] in ("error", "opaque"), answer["text"]) == (True, "")
    assert app.state() == before


def test_the_address_of_the_machine_where_the_app_does_not_listen(page: Any, app: Served) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            asked.connect(("192.0.2.1", 9))  # sends nothing, and chooses the address that it would come from
        except OSError:
            pytest.skip("the machine has no network")
        own = asked.getsockname()[0]
    error = page.evaluate(TRY, [f"http://{own}:{app.port}/", {"mode": "no-cors"}])
    assert error["type"] == "error"


def test_a_person_may_follow_a_link_and_then_work(page: Any, app: Served, foreign: int) -> None:
    page.goto(f"http://evil.example:{foreign}/")
    page.evaluate("(to) => { location.href = to; }", app.address + "/")
    page.wait_for_selector("#txt2img_generate")
    assert page.evaluate(CREATE, [app.address, "after"])["status"] == 200


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    yield from served(tmp_path_factory.mktemp("shared"), "0.0.0.0", "s3cret")


def test_with_a_token_a_page_works_and_others_get_nothing(page: Any, shared: Served, foreign: int) -> None:
    assert page.goto(shared.address + "/").status == 401
    assert page.evaluate(TRY, [shared.address + f"{API}/embeddings", {}])["status"] == 401
    page.goto(f"http://evil.example:{foreign}/")
    page.evaluate("(to) => { location.href = to; }", shared.address + "/?token=s3cret")
    page.wait_for_selector("#txt2img_generate")
    assert page.url == shared.address + "/", "the token has left the address"
    page.fill("#txt2img_prompt textarea", "a cat")
    page.click("#txt2img_generate")
    page.wait_for_function("document.querySelector('#html_info_txt2img').innerText.includes('Seed')")
    page.wait_for_function("(document.querySelector('#txt2img_gallery img') || {}).naturalWidth > 0")
    assert "s3cret" not in page.evaluate("document.cookie")
    # the cookie is there now, and goes with no request of another site
    page.goto(f"http://evil.example:{foreign}/")
    before = shared.state()
    for path, options in FETCHES.values():
        assert page.evaluate(TRY, [shared.address + path, {**options, "credentials": "include"}])["text"] == ""
    assert shared.state() == before
