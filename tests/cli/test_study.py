"""`train-embedding study`: what is printed, exit codes, and that a second command only does what is left."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unicodedata import east_asian_width

import pytest
from PIL import Image

from train_embedding.cli import main, study, study_progress
from train_embedding.messages import verbatim
from train_embedding.services import studies
from train_embedding.services.run_records import RunState
from train_embedding.services.studies import PlannedRun, RunProgress, scheduling
from train_embedding.services.studies.results import RunResult, Status

Carry = Callable[..., RunResult]


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study of two runs, none of which trains: a run fails if its embedding is called "broken"."""

    def carry_out(run: PlannedRun, place: str, _open_host: object, _stopping: object) -> RunResult:
        done = RunResult("failed", error=verbatim("It broke.")) if run.embedding == "broken" else RunResult("finished")
        done.save(Path(place))
        return done

    monkeypatch.setattr(scheduling, "carry_out", carry_out)
    (tmp_path / "images").mkdir()
    Image.new("RGB", (64, 64), "red").save(tmp_path / "images" / "1.png")
    file = tmp_path / "study.csv"
    file.write_text("dataset,name\nimages,anna\nimages,ben\n")
    return file


def output(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> tuple[str, str]:
    capsys.readouterr()
    assert main(["study", *map(str, arguments)]) == code
    captured = capsys.readouterr()
    return captured.out, captured.err


def test_a_study_is_carried_out_once(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, err = output(capsys, table)
    assert [line.split()[0][:4] for line in out.splitlines()] == ["run", "anna", "ben-"]
    assert "2/2  ben-" in err
    assert (table.parent / "study-results" / "report.html").exists()
    out, err = output(capsys, table, "--json")
    assert [run["status"] for run in json.loads(out)["runs"]] == ["finished", "finished"]
    assert "running" not in err


def test_a_failed_run_is_named(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table.write_text("dataset,name\nimages,broken\nimages,ben\n")
    _, err = output(capsys, table, code=9)
    assert ": It broke." in err
    assert err.endswith("error: 1 run of the study failed. The same command tries them again.\n")


def test_a_dry_run_lists_and_a_report_is_written_without_training(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = output(capsys, table, "--dry-run", "--seed", 3, "--set", "steps=5", "--json")
    assert [(run["options"]["steps"], run["status"]) for run in json.loads(out)["runs"]] == [(5, "waiting")] * 2
    assert not (table.parent / "study-results").exists()
    assert "report.html" in output(capsys, table, "--report")[1]


def test_a_folder_of_subjects(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = output(capsys, "--folder", table.parent, "--seed", 1, "--seed", 2, "--dry-run", "--vectors", "3", "--json")
    assert [(run["embedding"], run["options"]["seed"], run["vectors"]) for run in json.loads(out)["runs"]] == [
        ("images", 1, 3),
        ("images", 2, 3),
    ]


def test_all_problems_are_printed_and_nothing_starts(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table.write_text("dataset,steps\nimages,0\nnone,2\n")
    _, err = output(capsys, table, code=2)
    first, second, last = err.splitlines()
    assert first.startswith("line 2: steps is 0")
    assert second.startswith("line 3: The folder")
    assert last == "error: The study has 2 problems, so nothing was started."


def test_wrong_usage_is_refused(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "either a study file or --folder" in output(capsys, code=2)[1]
    assert '"steps" has no value' in output(capsys, table, "--set", "steps", code=2)[1]


def test_an_address_is_for_ray(table: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    def cluster(address: str, _open_host: object, resources: studies.Resources) -> scheduling.ThisProcess:
        made.append((address, resources))
        return scheduling.ThisProcess(study.OpenHost())

    monkeypatch.setattr(studies, "Cluster", cluster, raising=False)
    output(capsys, table, "--address", "auto", "--gpus-per-run", 0.5)
    assert made == [("auto", studies.Resources(0.5, 1, None))]


def test_hosts_share_a_checkpoint_until_another_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Path | None] = []

    def checkpoint(path: Path | None) -> object:
        made.append(path)
        return object()

    monkeypatch.setattr("train_embedding.hosts.standalone.CheckpointFile", checkpoint)
    monkeypatch.setattr("train_embedding.hosts.standalone.StandaloneHost", lambda _folder, checkpoint: checkpoint)
    open_host = study.OpenHost()
    hosts = [open_host(tmp_path, name) for name in ("", "", "a", "a", "")]
    assert made == [None, Path("a"), None]
    assert hosts[0] is hosts[1]


def use_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make stderr a terminal of 8 lines of 64 columns."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("LINES", "8")
    monkeypatch.setenv("COLUMNS", "64")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)


def in_progress(status: Status, name: str = "anna", recipe: str = "Fast") -> RunProgress:
    run = PlannedRun(name, "/images", recipe=recipe, options={"seed": 7})
    state = RunState("id", "anna", Path("/runs/id"), run.spec(), step=3, steps=9, loss=0.25, eta_seconds=3700.0)
    return RunProgress(run, status, None if status == "waiting" else state)


def test_a_terminal_gets_a_table_that_is_drawn_again(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    use_terminal(monkeypatch)
    with study_progress.shown_progress(0) as show:
        show([in_progress("running", recipe="\x1b[31mred"), in_progress("waiting")])
        show([in_progress("finished"), in_progress("failed")])
    err = capsys.readouterr().err
    assert "3/9" in err
    assert "1:01:40" in err
    assert "0 of 2 runs finished\x1b[K\n\x1b[J\x1b[4A" in err
    assert "1 of 2 runs finished, 1 failed" in err
    assert "\x1b[31m" not in err
    assert err.endswith("\x1b[4A\x1b[J")


def test_the_table_fits_the_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    use_terminal(monkeypatch)
    with study_progress.shown_progress(0) as show:
        show([in_progress("waiting", "角色小红的很长的名字" * 3)] * 8 + [in_progress("running")])
        lines = capsys.readouterr().err.split("\n")
    assert len(lines) == 8
    assert lines[1].startswith("anna")
    assert "running  3/9   0.2500  1:01:40" in lines[1]
    assert lines[2].startswith("角色")
    assert "…-" in lines[2]
    assert all(sum(1 + (east_asian_width(letter) == "W") for letter in line.removesuffix("\x1b[K")) < 64 for line in lines[:-1])
    assert lines[6].startswith("0 of 9 runs finished (4 not shown)")


def test_what_others_print_appears_above_the_table(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    use_terminal(monkeypatch)
    with study_progress.shown_progress(0) as show:
        show([in_progress("running")])
        capsys.readouterr()
        print("A node has died.")
        assert capsys.readouterr().err == "\x1b[3A\x1b[JA node has died.\x1b[J\n"
        show([in_progress("running")])
        assert capsys.readouterr().err.startswith("run")
