"""The Train panel: what it shows of runs whose process or whose files are gone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from train_embedding.engine.config.spec import TrainingSpec
from train_embedding.services import Services
from train_embedding.services.run_records import RunState
from train_embedding.testing import FakeHost
from train_embedding.ui.training import progress

SPEC = TrainingSpec("my-cat", "/pictures")


def stored(host: FakeHost, **values: Any) -> RunState:
    folder = host.info().runs_folder / "20261128-101010-123"
    folder.mkdir(parents=True)
    state = RunState(folder.name, "my-cat", folder, SPEC, **{"status": "running", "step": 120, "steps": 400, **values})
    state.save()
    return state


@pytest.fixture
def services(fake_host: FakeHost) -> Services:
    """Of a process that began after another one was killed."""
    stored(fake_host, previews=(fake_host.info().runs_folder / "gone.png",))
    return Services(fake_host)


def test_a_run_that_ended_with_its_process_can_be_resumed(
    handler: Callable[[str], Callable[..., Any]], components: dict[str, Any], services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    updates = handler("poll")(None, "")
    assert updates[components["te_train_resume"]]["interactive"] is True
    assert updates[components["te_train_stop"]]["interactive"] is False
    assert 'data-active="false"' in updates[components["te_train_progress"]]
    assert "step 120 of 400" in updates[components["te_train_progress"]]
    said = updates[components["te_train_status"]]
    assert "Training my-cat was interrupted at step 120 of 400." in said
    assert "to continue from the last save" in said
    resumed: list[str] = []
    monkeypatch.setattr(services.runs, "resume", resumed.append)
    handler("resume")()
    assert resumed == ["20261128-101010-123"]


def test_previews_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    good, broken = tmp_path / "0000000.png", tmp_path / "0000100.png"
    Image.new("RGB", (8, 8), "red").save(good)
    broken.write_bytes(good.read_bytes()[:40])
    state = RunState("7", "my-cat", tmp_path, SPEC, previews=(good, broken, tmp_path / "0000200.png"))
    assert [caption for _, caption in progress._previews(state)] == ["step 0"]
