"""The queue of a stand-alone app that is killed in the middle of a training, and started again."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gradio")

from tests.standalone_app import PICTURES, START, App, serve_app
from train_embedding.hosts.standalone import DEMO_CHECKPOINT

pytestmark = [
    pytest.mark.checkpoint,
    pytest.mark.slow,
    pytest.mark.skipif(not DEMO_CHECKPOINT.is_file(), reason="the demo checkpoint is not there"),
]


def call(app: App, method: str, path: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{app.address}train-embedding/v1/{path}", data, headers, method=method)
    with urllib.request.urlopen(request, timeout=START) as answer:
        return json.loads(answer.read())


def wait(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + START
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(0.1)


def statuses(app: App) -> list[str]:
    return [entry["status"] for entry in call(app, "GET", "queue")["entries"]]


def test_a_killed_app_resumes_its_training_when_the_queue_is_continued(tmp_path: Path) -> None:
    with serve_app(tmp_path) as app:
        for name in ("one", "two"):
            call(app, "POST", "embeddings", {"name": name, "init_text": "red star", "vectors": 1})
            training = {"embedding": name, "dataset": str(PICTURES), "steps": 40, "batch_size": 1, "save_every": 2}
            call(app, "POST", "queue", {**training, "preview_every": 0, "eval_every": 0, "choose_start_words": False})
        wait(lambda: any(run["step"] > 4 for run in call(app, "GET", "runs")), "the fifth step")
        app.process.kill()
        app.process.wait()
    with serve_app(tmp_path) as app:
        wait(lambda: statuses(app) == ["interrupted", "waiting"], "the look at what was left")
        wait(lambda: call(app, "GET", "queue")["why_paused"] == "The program was restarted.", "the pause")
        assert not any(run["active"] for run in call(app, "GET", "runs")), "nothing begins by itself"
        call(app, "POST", "queue/continue")
        wait(lambda: statuses(app) == ["finished", "finished"], "the end of the queue")
        assert sorted((run["embedding"], run["step"]) for run in call(app, "GET", "runs")) == [("one", 40), ("two", 40)]
