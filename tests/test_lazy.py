"""What is made when it is first used."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from train_embedding import webui
from train_embedding.lazy import made_once
from train_embedding.services import Services
from train_embedding.services.training import Queue
from train_embedding.testing import FakeHost

START = """
import sys, tempfile
from pathlib import Path

from train_embedding.services import Services
from train_embedding.testing import FakeHost
from train_embedding.ui.tab import build

build(Services(FakeHost(Path(tempfile.mkdtemp()))))
print(*(name for name in sys.modules if name.startswith("train_embedding.")))
"""
LATER = ("library.library", "datasets.datasets", "training.queue", "training.runs", "comparing.comparing", "combining.combining")


class Slow:
    def __init__(self) -> None:
        self.made = 0

    @made_once
    def value(self) -> object:
        self.made += 1
        time.sleep(0.01)
        return object()


def test_two_threads_get_the_same_value() -> None:
    slow, values = Slow(), list[object]()
    threads = [threading.Thread(target=lambda: values.append(slow.value)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert slow.made == 1
    assert values == [slow.value] * 8
    assert Slow().value is not slow.value


def test_a_value_that_could_not_be_made_is_made_later() -> None:
    class Failing:
        tries = 0

        @made_once
        def value(self) -> int:
            self.tries += 1
            if self.tries == 1:
                raise OSError("full")
            return self.tries

    failing = Failing()
    with pytest.raises(OSError, match="full"):
        _ = failing.value
    assert failing.value == 2


def test_a_new_tab_loads_no_service_that_waits_for_the_user() -> None:
    pytest.importorskip("gradio")
    loaded = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", START], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "train_embedding.ui.tab" in loaded
    assert [name for name in LATER if f"train_embedding.services.{name}" in loaded] == []


def test_the_webui_starts_without_waiting_for_the_queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    services, served = Services(FakeHost(tmp_path)), threading.Event()
    monkeypatch.setattr(webui, "services", lambda: services)
    monkeypatch.setattr(Queue, "serve", lambda _queue: served.set())
    webui.work_on_queue()
    assert served.wait(60)
