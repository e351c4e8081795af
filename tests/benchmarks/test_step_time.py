"""The benchmark of a step's time, on tiny networks and beside stand-ins for the WebUI and for diffusers' example."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import step_time, step_time_rounds
from benchmarks.peers import Steps
from benchmarks.peers.clock import cpu_seconds, pid_on_port
from benchmarks.peers.diffusers_example import SCRIPT, DiffusersExample
from benchmarks.peers.ours import Ours
from benchmarks.peers.webui import FAST, QUIET, WebUITrainer
from benchmarks.random_checkpoint import TRUE_SIZE, Size, _shapes, make, random_state
from benchmarks.step_time_report import Measured, Round, report
from tests.families import true_size_state
from train_embedding.engine.loading.checkpoint import load_checkpoint
from train_embedding.engine.model.conditioning import Conditioning

TINY = Size(unet_channels=32, vae_channels=32, text_width=64, text_layers=2, text_heads=4)
EXAMPLE = """
import os, sys, time
from torchvision import transforms
from tqdm import tqdm

options = dict(argument.removeprefix("--").split("=", 1) for argument in sys.argv[1:])
assert os.environ["OMP_NUM_THREADS"] == "1" and os.environ["HF_HUB_OFFLINE"] == "1"
assert transforms.RandomHorizontalFlip(p=0.5) and os.listdir(options["train_data_dir"])
bar = tqdm(range(int(options["max_train_steps"])), desc="Steps")
for _ in range({limit}):
    time.sleep(0.15)
    bar.update(1)
    bar.set_postfix(loss=1 / 2, lr=5e-3)
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("checkpoint"), 3, TINY)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return step_time.make_images(tmp_path / "images", 32)


def test_the_true_size_is_the_published_one() -> None:
    published = {key: tensor.shape for key, tensor in true_size_state("SD1", 4).items()}
    assert {key: tensor.shape for key, tensor in _shapes(TRUE_SIZE).items()} == published


def test_weights_follow_from_the_seed() -> None:
    first, again, other = (random_state(seed, TINY) for seed in (1, 1, 2))
    assert all(torch.equal(tensor, again[key]) for key, tensor in first.items())
    assert not any(torch.equal(tensor, other[key]) for key, tensor in first.items())


def test_the_file_and_the_folder_hold_the_same_networks(checkpoint: Path) -> None:
    latents, timesteps = torch.randn(1, 4, 8, 8), torch.tensor([500])
    outputs: list[torch.Tensor] = []
    for path in (checkpoint, checkpoint.parent / "diffusers"):
        model = load_checkpoint(path)
        start = torch.randn(1, 77, TINY.text_width, generator=torch.Generator().manual_seed(5))
        with torch.no_grad():
            outputs.append(model.predict(latents, timesteps, Conditioning(start)))
        outputs.append(model.encode_images(torch.zeros(1, 3, 32, 32)).mean)
        outputs.append(model.encode_tokens("a star")[model.text_encoders[0].key])
    for ours, theirs in zip(outputs[:3], outputs[3:], strict=True):
        assert bool(torch.isfinite(ours).all())
        torch.testing.assert_close(ours, theirs)


def test_our_steps_are_timed(checkpoint: Path, images: Path) -> None:
    measured = Ours(checkpoint, images, 32).measure(3)
    assert len(measured.seconds) == 3
    assert all(0 < second < 60 for second in measured.seconds)


@dataclass
class FakeWebUI:
    """What the benchmark asks of a WebUI: settings, a new embedding, a training that logs its losses."""

    folder: Path
    loss: str = "0.5"
    steps_made: int = 100
    options: dict[str, Any] = field(default_factory=lambda: dict.fromkeys({**FAST, **QUIET}, "as before"))
    during: dict[str, Any] = field(default_factory=dict)

    def answer(self, path: str, body: dict[str, Any] | None) -> Any:
        if path.endswith("/options"):
            self.options |= body or {}
            return {**self.options, "sd_model_checkpoint": "random-sd1.safetensors [abc]"}
        assert body is not None
        if path.endswith("/create/embedding"):
            (self.folder / "embeddings" / f"{body['name']}.pt").touch()
            return {"info": "created"}
        assert path.endswith("/train/embedding")
        self.during = dict(self.options)
        self._train(body)
        return {"info": "ended"}

    def _train(self, body: dict[str, Any]) -> None:
        folder = Path(body["log_directory"]) / "2026-01-01" / body["embedding_name"]
        folder.mkdir(parents=True)
        for step in range(min(body["steps"], self.steps_made)):
            time.sleep(0.2)
            with (folder / "textual_inversion_loss.csv").open("a") as log:
                log.write("" if step else "step,epoch,epoch_step,loss,learn_rate\r\n")
                log.write(f"{step + 1},0,{step},{self.loss},0.005\r\n")


@pytest.fixture
def fake(tmp_path: Path) -> FakeWebUI:
    (tmp_path / "webui" / "embeddings").mkdir(parents=True)
    return FakeWebUI(tmp_path / "webui")


@pytest.fixture
def webui(fake: FakeWebUI, images: Path, tmp_path: Path) -> Iterator[WebUITrainer]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            answer = json.dumps(fake.answer(self.path, json.loads(self.rfile.read(length)) if length else None)).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_POST = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield WebUITrainer(f"http://127.0.0.1:{server.server_port}", fake.folder, images, tmp_path / "log", 32)
        server.shutdown()
        thread.join()


def test_the_webui_is_timed_by_its_log_and_left_as_it_was(webui: WebUITrainer, fake: FakeWebUI) -> None:
    assert webui.checkpoint().startswith("random-sd1")
    measured = webui.measure(2)
    assert len(measured.seconds) == 2
    assert all(0.15 < second < 5 for second in measured.seconds)
    assert fake.during == {**FAST, **QUIET}
    assert set(fake.options.values()) == {"as before"}
    assert list((fake.folder / "embeddings").iterdir()) == []


@pytest.mark.parametrize(("given", "said"), [({"steps_made": 2}, "after 2 of 4 steps: ended"), ({"loss": "nan"}, "loss is nan")])
def test_a_webui_that_fails_is_not_taken_for_a_fast_one(
    webui: WebUITrainer, fake: FakeWebUI, given: dict[str, Any], said: str
) -> None:
    vars(fake).update(given)
    with pytest.raises(RuntimeError, match=said):
        webui.measure(3)
    assert set(fake.options.values()) == {"as before"}


def example(tmp_path: Path, images: Path, limit: str) -> DiffusersExample:
    script = tmp_path / "checkout" / SCRIPT
    script.parent.mkdir(parents=True)
    script.write_text(EXAMPLE.replace("{limit}", limit), encoding="utf-8")
    folders = {"checkout": tmp_path / "checkout", "model": tmp_path / "model", "images": images, "work": tmp_path / "work"}
    return DiffusersExample(**folders, python=Path(sys.executable), resolution=32, threads=1)


def test_diffusers_example_is_timed_by_its_progress_bar(tmp_path: Path, images: Path) -> None:
    measured = example(tmp_path, images, 'int(options["max_train_steps"])').measure(2)
    assert len(measured.seconds) == 2
    assert all(0.1 < second < 5 for second in measured.seconds)


def test_an_example_that_fails_is_not_taken_for_a_fast_one(tmp_path: Path, images: Path) -> None:
    with pytest.raises(RuntimeError, match="after 2 steps"):
        example(tmp_path, images, "2").measure(2)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="CPU time of another process is read from Linux's /proc")
def test_a_process_is_found_by_its_port() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        assert pid_on_port(server.server_port) == os.getpid()
    assert pid_on_port(server.server_port) is None
    assert cpu_seconds(os.getpid()) == pytest.approx(time.process_time(), abs=1)
    assert cpu_seconds(2**22 + 1) is None


def test_ratios_are_those_of_the_medians() -> None:
    rounds = [
        Round(0.0, [100.0, 200.0], {"ours": Steps([1.0, 1.0], 2.0), "other": Steps([3.0, 3.0], None)}),
        Round(0.5, [150.0, 150.0], {"ours": Steps([1.0, 9.0], 1.0), "other": Steps([5.0, 3.0], 2.0)}),
    ]
    measured = Measured({"cpu": "some"}, {"resolution": 256, "steps": 2}, 100 * 10**9, rounds)
    assert measured.ratio("other") == 3
    assert measured.round_ratios("other") == [3, 0.8]
    assert (measured.processor_seconds("ours"), measured.processor_seconds("other")) == (3.5, 8)
    assert measured.processor_ratio("other") == 1.6
    assert measured.of_matmul == pytest.approx(0.5)
    text = report(measured)
    assert "| other | 3.00 | 3.00 … 5.00 | 3.00 | 0.80 … 3.00 | 2.00 | 8.00 | 1.60 |" in text
    assert "50% of the 200 GFLOP/s" in text
    assert json.loads(json.dumps(measured.to_json()))["summary"]["other"]["ratio"] == 3


def test_the_whole_command(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(step_time, "make", lambda folder, seed: checkpoint)
    monkeypatch.setattr(step_time, "step_flops", lambda resolution: 10**9)
    monkeypatch.setattr(step_time_rounds, "SIDE", 64)
    threads = str(torch.get_num_threads())
    numbers = tmp_path / "numbers.json"
    options = ["--work", str(tmp_path), "--threads", threads, "--resolution", "32", "--rounds", "2", "--steps", "2"]
    assert step_time.main([*options, "--json", str(numbers)]) == 0
    assert "| ours |" in capsys.readouterr().out
    written = json.loads(numbers.read_text())
    assert [len(one["steps"]["ours"]["seconds"]) for one in written["rounds"]] == [2, 2]
    assert written["machine"]["torch"] == torch.__version__
