"""`train-embedding queue`: the order, and that it trains what waits."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from PIL import Image

from tests import checkpoints
from train_embedding.cli import main
from train_embedding.hosts import standalone
from train_embedding.services.training.runs import Runs
from train_embedding.testing import FakeHost

QUICK = ("--steps", "2", "--batch-size", "1", "--preview-every", "0", "--eval-every", "0", "--no-choose-start-words")


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder, whose checkpoint can be trained on."""
    model = checkpoints.model()

    def host(folder: Path, _checkpoint: Path | None = None, allowed_folders: tuple[Path, ...] | None = None) -> FakeHost:
        return FakeHost(folder.resolve(), widths=model.widths, model=model, allowed_folders=allowed_folders)

    monkeypatch.setattr(standalone, "StandaloneHost", host)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "train-embedding-data"


@pytest.fixture
def images(data: Path, tmp_path: Path) -> Path:
    """A dataset, and embeddings a, b and c."""
    folder = tmp_path / "images"
    folder.mkdir()
    Image.new("RGB", (64, 64), "red").save(folder / "1.png")
    for name in ("a", "b", "c"):
        assert main(["create", name, "--init-text", "red", "--vectors", "1"]) == 0
    return folder


def output(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    capsys.readouterr()
    assert main(["queue", *arguments]) == code
    captured = capsys.readouterr()
    return captured.out + captured.err


def listed(capsys: pytest.CaptureFixture[str]) -> list[tuple[str, str]]:
    return [(entry["embedding"], entry["status"]) for entry in json.loads(output(capsys, "list", "--json"))["entries"]]


def add(capsys: pytest.CaptureFixture[str], images: Path, *names: str) -> None:
    for name in names:
        output(capsys, "add", name, str(images), *QUICK)


def test_add_move_remove_and_restore(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert output(capsys, "list") == "The queue is empty.\n"
    assert "Added job 1 (a), after 0 others." in output(capsys, "add", "a", str(images), *QUICK)
    add(capsys, images, "b", "c")
    assert output(capsys, "move", "3", "1") == "Moved job 3 (c) to position 1.\n"
    assert output(capsys, "remove", "1") == "Removed job 1 (a).\n"
    titles, *rows = output(capsys, "list").splitlines()
    assert titles.split() == ["job", "embedding", "status", "preset", "run", "reason"]
    assert [row.split()[:3] for row in rows] == [["3", "c", "waiting"], ["2", "b", "waiting"]]
    assert "1" in output(capsys, "list", "--removed")
    assert output(capsys, "restore", "1") == "Restored job 1 (a).\n"
    assert listed(capsys) == [("c", "waiting"), ("b", "waiting"), ("a", "waiting")]
    assert "0 is not a position" in output(capsys, "move", "1", "0", code=2)
    assert "There is no job 9" in output(capsys, "remove", "9", code=3)


def test_run_trains_what_waits_and_ends(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add(capsys, images, "a", "b")
    assert output(capsys, "pause") == "The queue is paused.\n"
    assert "The queue is paused." in output(capsys, "list")
    lines = output(capsys, "run")
    assert lines.index("Job 1: a") < lines.index("Finished a: 2 steps") < lines.index("Job 2: b")
    assert listed(capsys) == [("a", "finished"), ("b", "finished")]
    assert "No jobs are waiting in the queue." in output(capsys, "run")
    assert output(capsys, "clear") == "Removed 2 jobs.\n"
    assert listed(capsys) == []


def test_one_that_fails_gives_the_exit_code_and_the_others_are_trained(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add(capsys, images, "a", "b")
    assert main(["delete", "a"]) == 0
    said = output(capsys, "run", code=9)
    assert 'Job 1 (a) failed: There is no embedding "a".' in said
    assert listed(capsys) == [("a", "failed"), ("b", "finished")]
    assert main(["create", "a", "--init-text", "red", "--vectors", "1"]) == 0
    assert output(capsys, "retry", "1") == "Job 1 (a) will be tried again.\n"
    assert "Finished a" in output(capsys, "run")


def test_ctrl_c_keeps_the_queue_and_the_next_run_resumes_it(
    images: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    add(capsys, images, "a", "b")
    wait = Runs.wait
    pressed: list[str] = []

    def press(self: Runs, run_id: str, timeout: float | None = None) -> object:
        if not pressed:
            pressed.append(run_id)
            signal.raise_signal(signal.SIGINT)
        return wait(self, run_id, timeout)

    monkeypatch.setattr(Runs, "wait", press)
    output(capsys, "run")
    first, second = listed(capsys)
    assert second == ("b", "waiting")
    assert "The program that was working on the queue has ended." in output(capsys, "list")
    assert first in (("a", "interrupted"), ("a", "finished")), "the run may have been over before it could be stopped"
    output(capsys, "run")
    assert listed(capsys) == [("a", "finished"), ("b", "finished")]
