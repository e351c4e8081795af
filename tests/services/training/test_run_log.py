"""The files of a run's log."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from train_embedding.errors import StorageFailed
from train_embedding.services.training.run_log import EVENTS, LOSSES, TENSORBOARD, RunLog


def events(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / EVENTS).read_text(encoding="utf-8").splitlines()]


def test_losses_and_events(tmp_path: Path) -> None:
    log = RunLog(tmp_path)
    log.losses([(1, 0.5, 0.01), (2, 0.25, 0.01)])
    log.losses([(3, 0.125, 0.001)])
    log.event("evaluated", 2, score=0.9, losses=[1.0, 2.0])
    log.close()
    assert (tmp_path / LOSSES).read_text().splitlines() == [
        "step,loss,learning_rate", "1,0.5,0.01", "2,0.25,0.01", "3,0.125,0.001",
    ]  # fmt: skip
    (event,) = events(tmp_path)
    assert (event["event"], event["step"], event["score"], event["losses"]) == ("evaluated", 2, 0.9, [1.0, 2.0])


def test_going_back(tmp_path: Path) -> None:
    log = RunLog(tmp_path)
    assert log.go_back(0) == []
    for step in range(1, 6):
        log.losses([(step, step / 8, 0.01)])
        log.event("evaluated", step, score=1.0)
    with (tmp_path / LOSSES).open("a") as file:
        file.write("6,0.7")  # the process was killed in the middle of a line
    with (tmp_path / EVENTS).open("a") as file:
        file.write('{"event": "eva')
    assert log.go_back(3) == [(1, 0.125), (2, 0.25), (3, 0.375)]
    log.losses([(4, 0.5, 0.01)])
    assert (tmp_path / LOSSES).read_text().splitlines()[1:] == ["1,0.125,0.01", "2,0.25,0.01", "3,0.375,0.01", "4,0.5,0.01"]
    assert [event["step"] for event in events(tmp_path)] == [1, 2, 3]


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    log = RunLog(tmp_path / "gone")
    with pytest.raises(StorageFailed, match=r"loss\.csv"):
        log.losses([(1, 1.0, 1.0)])


def test_tensorboard_where_it_is_installed(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    log = RunLog(tmp_path)
    log.losses([(1, 0.5, 0.01)])
    log.event("evaluated", 1, score=0.9)
    log.image("preview 1", Image.new("RGB", (8, 8), "red"), 1)
    log.close()
    read = accumulator.EventAccumulator(str(tmp_path / TENSORBOARD))
    read.Reload()
    assert set(read.Tags()["scalars"]) == {"loss", "learning rate", "evaluation"}
    assert read.Tags()["images"] == ["preview 1"]
    assert read.Scalars("loss")[0].value == 0.5
