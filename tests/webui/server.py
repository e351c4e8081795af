"""What the tests say to a running WebUI: over HTTP, over its files, and on its page."""

from __future__ import annotations

import base64
import io
import json
import os
import shlex
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from train_embedding.embeddings.text_encoders import CLIP_L, OPENCLIP_BIGG

PREFIX = "te-test-"
ROUTES = "/train-embedding/v1"
PATIENCE = float(os.environ.get("WEBUI_PATIENCE", "60"))
"Seconds to wait for something that should happen at once; more for a busy machine."
START_SECONDS = 5 * PATIENCE
STARTED = "Startup time:"
"What the WebUI prints once it has added its last middleware."


@dataclass(frozen=True)
class Answer:
    status: int
    body: Any


@dataclass(frozen=True)
class WebUI:
    """The server, over HTTP and over its files."""

    url: str
    folder: Path
    auth: str = ""

    def call(
        self, method: str, path: str, body: Any = None, *, auth: bool = True, headers: dict[str, str] | None = None
    ) -> Answer:
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers or {"Content-Type": "application/json"}, method=method)
        if auth and self.auth:
            request.add_header("Authorization", "Basic " + base64.b64encode(self.auth.encode()).decode())
        try:
            with urllib.request.urlopen(request, timeout=600) as response:
                return Answer(response.status, json.loads(response.read() or "null"))
        except urllib.error.HTTPError as error:
            return Answer(error.code, json.load(error))

    def get(self, path: str) -> Any:
        answer = self.call("GET", path)
        assert answer.status == 200, answer
        return answer.body

    def post(self, path: str, body: Any = None) -> Any:
        answer = self.call("POST", path, {} if body is None else body)
        assert answer.status == 200, answer
        return answer.body

    @property
    def is_forge(self) -> bool:
        return "forge_preset" in self.get("/sdapi/v1/options")

    @property
    def is_sdnext(self) -> bool:
        return self.call("GET", "/sdapi/v1/status").status == 200

    @property
    def program(self) -> str:
        """Its name and version; empty without the extension of tests/webui."""
        facts = self.call("GET", "/te-test/facts")
        return facts.body["program"] if facts.status == 200 else ""

    @property
    def loads_images(self) -> bool:
        """Whether embeddings in images are among those that it lists as loaded."""
        return not self.program.startswith(("Forge Neo", "Forge Classic"))

    @property
    def why_it_creates_none(self) -> str:
        """Why the program itself cannot create embeddings; empty if it can."""
        if self.is_forge:
            return "Forge cannot create embeddings: its own route for it fails"
        has_route = "/sdapi/v1/create/embedding" in self.get("/openapi.json")["paths"]
        return "" if has_route else "the program itself cannot create embeddings"

    @property
    def embeddings(self) -> Path:
        folder = self.folder / "embeddings"
        return folder if folder.is_dir() else self.folder / "models" / "embeddings"  # as SD.Next has it

    def create(self, name: str, text: str, **fields: Any) -> dict[str, Any]:
        return self.post(f"{ROUTES}/embeddings", {"name": name, "init_text": text, **fields})

    def loaded(self) -> dict[str, Any]:
        return self.get("/sdapi/v1/embeddings")["loaded"]

    @property
    def checkpoint(self) -> str:
        """The file name of the chosen one; its title has a hash behind it once it was loaded."""
        return self.get("/sdapi/v1/options")["sd_model_checkpoint"].split(" [")[0]

    def checkpoints(self) -> dict[str, dict[str, Any]]:
        """What the program says of each, by file name."""
        return {model["title"].split(" [")[0]: model for model in self.get("/sdapi/v1/sd-models")}

    def choose_checkpoint(self, name: str) -> None:
        self.post("/sdapi/v1/options", {"sd_model_checkpoint": self.checkpoints()[name]["title"]})

    def reload(self) -> None:
        """Makes the program read its folder again; Forge's own route reads the list of its API alone, and creating all lists."""
        if self.is_forge:
            self.create(f"{PREFIX}reload", "a")
        else:
            self.call("POST", "/sdapi/v1/refresh-embeddings", {})

    def picture(self, prompt: str, negative_prompt: str = "", seed: int = 1) -> bytes:
        """The pixels of a small picture by the WebUI's own API."""
        from PIL import Image

        size = {"width": 64, "height": 64, "steps": 4, "sampler_name": "Euler", "cfg_scale": 5}
        made = self.post("/sdapi/v1/txt2img", {"prompt": prompt, "negative_prompt": negative_prompt, "seed": seed, **size})
        with Image.open(io.BytesIO(base64.b64decode(made["images"][0]))) as image:
            return image.convert("RGB").tobytes()

    def run(self, run_id: str) -> dict[str, Any]:
        return self.get(f"{ROUTES}/runs/{run_id}")

    def wait_for_run(
        self, run_id: str, until: Callable[[dict[str, Any]], bool] = lambda run: not run["active"]
    ) -> dict[str, Any]:
        return wait_for(lambda: self.run(run_id), until, 10 * PATIENCE)


class StartedWebUI:
    """A WebUI that a test has started with WEBUI_COMMAND, and may kill.

    Args:
        webui: One with the same data folder, whose address is another.
        command: Starts a WebUI in the foreground; `{port}` stands for the port.
        log: Gets what it prints.
        options: Are added to the command.
    """

    def __init__(self, webui: WebUI, command: str, log: Path, options: Sequence[str] = ()) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.webui = replace(webui, url=f"http://127.0.0.1:{port}")
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [*shlex.split(command.replace("{port}", str(port))), *options],
                start_new_session=True,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        wait_for(self._answers, seconds=START_SECONDS)

    def _answers(self) -> bool:
        """Asks it nothing before it says that it has started: a request that comes earlier can make it fail."""
        said = self._log.read_text(encoding="utf-8", errors="replace")
        assert self._process.poll() is None, f"WEBUI_COMMAND ended: {said[-2000:]}"
        if STARTED not in said:
            return False
        try:
            return self.webui.call("GET", f"{ROUTES}/runs").status == 200
        except (urllib.error.URLError, ConnectionError, ValueError):
            return False

    def kill(self) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def wait_for(read: Callable[[], Any], until: Callable[[Any], bool] = bool, seconds: float = PATIENCE) -> Any:
    """Reads again and again until the value suits; fails with the last value."""
    end = time.monotonic() + seconds
    while True:
        value = read()
        if until(value):
            return value
        assert time.monotonic() < end, f"waited {seconds:g} s in vain; the last value was {value!r}"
        time.sleep(0.2)


def draw_pictures(folder: Path) -> Path:
    """Six small images of orange discs in a folder of their own."""
    from PIL import Image, ImageDraw

    pictures = folder / "pictures"
    pictures.mkdir()
    for number in range(6):
        image = Image.new("RGB", (64, 64), (20, 30, 40 + 25 * number))
        ImageDraw.Draw(image).ellipse((8 + number, 10, 50 + number, 54), fill=(250, 140, 10 * number))
        image.save(pictures / f"disc {number}.png")
    return pictures


def tables_in(file: Path) -> dict[str, Any]:
    """The tensors [n, d] of an embedding file, whichever torch wrote it: "clip_l" and "clip_g" of SDXL, else "single"."""
    import torch

    data = torch.load(io.BytesIO(file.read_bytes()), map_location="cpu", weights_only=True)
    tables = data if "clip_l" in data else {"single": data["string_to_param"]["*"]}
    return {name: table.detach().float() for name, table in tables.items()}


def vectors_in(file: Path) -> Any:
    """One tensor [n, d]; SDXL's two stand side by side."""
    import torch

    return torch.cat(list(tables_in(file).values()), dim=1)


def step_kept(file: Path, step: int) -> int | None:
    """What is read from the file as its step: SDXL's form has room for vectors alone."""
    return None if "clip_l" in tables_in(file) else step


def write_vectors(file: Path, vectors: Any) -> None:
    """An embedding file as other programs make it."""
    import torch

    name = file.stem
    if vectors.shape[1] == CLIP_L + OPENCLIP_BIGG:
        tables = zip(("clip_l", "clip_g"), vectors.split([CLIP_L, OPENCLIP_BIGG], dim=1), strict=True)
        data = {encoder: table.clone() for encoder, table in tables}
        torch.save(data, file, _use_new_zipfile_serialization=False)
        return
    data = {"string_to_token": {"*": 265}, "string_to_param": {"*": vectors}, "name": name, "step": 0}
    torch.save({**data, "sd_checkpoint": None, "sd_checkpoint_name": None}, file, _use_new_zipfile_serialization=False)


def show_tab(page: Any, title: str) -> None:
    page.locator("#tabs > .tab-nav button", has_text=title).first.click()


def show_sub_tab(page: Any, title: str) -> None:
    """Opens a sub-tab of the tab Train Embedding."""
    show_tab(page, "Train Embedding")
    page.locator("#te_tabs > .tab-nav button, #te_tabs button[role=tab]", has_text=title).last.click()


def show_cards(page: Any, tab: str) -> None:
    show_tab(page, tab)
    page.locator(f"#{tab}_extra_tabs > .tab-nav button", has_text="Textual Inversion").click()
    page.wait_for_selector(f"#{tab}_textual_inversion_cards", state="visible")


def host_card(page: Any, tab: str, name: str) -> Any:
    return page.locator(f"#{tab}_textual_inversion_cards .card[data-name={json.dumps(name)}]")


def choose_dataset(page: Any, folder: str) -> None:
    """Types a dataset into its field on the sub-tab Train."""
    field = page.locator("#te_train_dataset input").first
    field.click()
    field.fill(folder)
    field.press("Enter")
    field.blur()


def open_creation(page: Any) -> None:
    """Opens the form that creates an embedding; it closes when it has done so."""
    page.locator("#te_create .label-wrap").first.wait_for()
    if not page.locator("#te_create_name").is_visible():
        page.locator("#te_create .label-wrap").first.click()
        page.locator("#te_create_name").wait_for()
    page.wait_for_timeout(100)


def unfold_advanced(page: Any) -> None:
    """Opens every group of advanced settings on the sub-tab Train."""
    for title in page.locator("#te_train_advanced .label-wrap").all():
        if "open" not in (title.get_attribute("class") or "").split():
            title.click()
    page.wait_for_timeout(100)


def fill(page: Any, elem_id: str, value: str) -> None:
    field = page.locator(f"#{elem_id} textarea, #{elem_id} input").first
    field.fill(value)
    field.blur()
