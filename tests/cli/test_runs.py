"""`train-embedding runs`, over runs of earlier processes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.run_folders import FIRST, stored_run
from train_embedding.cli import main
from train_embedding.testing import FakeHost

SECOND = "20261102-100000-000"


@pytest.fixture
def two_runs(data: Path) -> Path:
    """The runs folder."""
    host = FakeHost(data)
    stored_run(host, FIRST, {"batch_size": 7, "template": ["a [name]"]}, checkpoint="model")
    stored_run(host, SECOND, {"embedding": "dog"}, status="stopped", step=3)
    return host.info().runs_folder


def output(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    capsys.readouterr()
    assert main(["runs", *arguments]) == code
    captured = capsys.readouterr()
    return captured.out + captured.err


def test_list_and_search(two_runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    titles, *rows = output(capsys, "list").splitlines()
    assert titles.split() == ["run", "embedding", "status", "step", "samples", "seconds", "preset", "note"]
    assert [row.split()[:6] for row in rows] == [
        [SECOND, "dog", "stopped", "3", "of", "40"],
        [FIRST, "my-cat", "finished", "40", "of", "40"],
    ]
    assert [run["id"] for run in json.loads(output(capsys, "list", "MODEL", "cat", "--json"))] == [FIRST]
    assert output(capsys, "list", "nothing") == "No run matches.\n"


def test_show_names_the_options_that_differ(two_runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = output(capsys, "show", FIRST).splitlines()
    assert 'settings: --batch-size 7 --template "a [name]"' in shown
    assert "samples: 280" in shown
    assert json.loads(output(capsys, "show", FIRST, "--json"))["changed"] == {"batch_size": 7, "template": ["a [name]"]}
    assert "There is no run" in output(capsys, "show", "none", code=3)


def test_note_delete_and_restore(two_runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert output(capsys, "note", FIRST, "the best") == f"Noted {FIRST}.\n"
    assert output(capsys, "list", "best").splitlines()[1].endswith("the best")
    assert output(capsys, "delete", FIRST, SECOND).splitlines()[0] == f"Moved {FIRST} to the trash as {FIRST}."
    assert output(capsys, "list") == "There are no runs.\n"
    assert FIRST in output(capsys, "list", "--deleted", "cat")
    assert output(capsys, "restore", FIRST) == f"Restored {FIRST}.\n"
    assert (two_runs / FIRST / "loss.csv").is_file()
    assert output(capsys, "note", FIRST) == f"Removed the note of {FIRST}.\n"
    assert main(["trash", "empty"]) == 0
    assert output(capsys, "list", "--deleted") == "There are no runs.\n"


def test_a_finished_run_is_not_resumed(two_runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert f'The run "{FIRST}" has finished.' in output(capsys, "resume", FIRST, code=4)
