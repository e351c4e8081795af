"""The sections of a diagnosis, and what is said about a WebUI and the extension in it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from train_embedding.services.diagnosis import Check, Section, diagnose, sections
from train_embedding.services.diagnosis.probe import StageResult
from train_embedding.services.diagnosis.report import run_checks, shown_path

WEBUI_FILES = ("webui.py", "modules/shared.py", "modules/sd_hijack.py", "modules/textual_inversion/textual_inversion.py")


class NoProbe:
    """A probe that finds nothing wrong, and starts no process."""

    def __init__(self, _stages: Sequence[str]) -> None: ...

    def __enter__(self) -> NoProbe:
        return self

    def __exit__(self, *_error: object) -> None: ...

    def results(self) -> dict[str, StageResult]:
        return {"device": StageResult(facts={"devices": [], "cuda_problem": "", "cpu_precision": "float32"})}


@pytest.fixture(autouse=True)
def no_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sections, "Probe", NoProbe)
    monkeypatch.delenv("COMMANDLINE_ARGS", raising=False)
    monkeypatch.delenv("VENV_DIR", raising=False)


@pytest.fixture
def webui(tmp_path: Path) -> Path:
    """A WebUI with the extension installed."""
    folder = tmp_path / "webui"
    for name in (*WEBUI_FILES, "extensions/ours/scripts/train_embedding_tab.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    (folder / "embeddings").mkdir()
    (folder / "CHANGELOG.md").write_text("## 1.10.1\n")
    return folder


def found_in(title: str, found: Iterable[Section]) -> list[Check]:
    (section,) = [section for section in found if section.title == title]
    return list(section.checks)


def webui_checks(folder: Path) -> dict[str, Check]:
    return {check.name: check for check in found_in("WebUI", diagnose(folder, folder / "unused"))}


def test_a_good_webui(webui: Path) -> None:
    found = list(diagnose(webui, webui / "unused"))
    assert [section.title for section in found] == ["Train Embedding", "WebUI", "Folders", "Packages", "Device"]
    checks = {check.name: check for check in found_in("WebUI", found)}
    assert checks["program"].value == "AUTOMATIC1111 WebUI 1.10.1"
    assert {check.level for check in checks.values()} == {"ok"}
    folders = {check.name: check.value for check in found_in("Folders", found)}
    assert str(webui / ".train-embedding" / "runs") in folders["runs"]
    assert str(webui / "embeddings") in folders["embeddings"]


def test_without_a_webui_the_data_folder_is_checked(tmp_path: Path) -> None:
    found = list(diagnose(None, tmp_path))
    assert str(tmp_path / "embeddings") in found_in("Folders", found)[1].value
    assert not any(section.failed for section in found if section.title in ("Train Embedding", "WebUI", "Folders"))


def test_a_folder_that_is_no_webui_is_an_error(tmp_path: Path) -> None:
    for folder, problem in ((tmp_path, "not the folder of a WebUI"), (tmp_path / "none", "no such folder")):
        (check,) = found_in("WebUI", diagnose(folder, tmp_path, wants_webui=True))
        assert check.level == "error"
        assert problem in check.problem


def test_an_old_webui_is_a_warning_and_an_unsupported_one_an_error(webui: Path) -> None:
    (webui / "CHANGELOG.md").write_text("## 1.9.4\n")
    assert webui_checks(webui)["program"].level == "warning"
    (webui / "modules" / "sd_hijack.py").unlink()
    assert webui_checks(webui)["program"].level == "error"


def test_an_extension_that_is_switched_off_missing_doubled_or_too_deep(webui: Path) -> None:
    settings = webui / "config.json"
    for values in ({"disabled_extensions": ["ours"]}, {"disable_all_extensions": "extra"}):
        settings.write_text(json.dumps(values))
        assert "switched off" in webui_checks(webui)["extension"].problem
    settings.unlink()
    extensions = webui / "extensions"
    (extensions / "again" / "scripts").mkdir(parents=True)
    (extensions / "again" / "scripts" / "train_embedding_tab.py").touch()
    assert "several copies" in webui_checks(webui)["extension"].problem
    (extensions / "again").rename(webui / "away")
    (extensions / "outer").mkdir()
    (extensions / "ours").rename(extensions / "outer" / "ours")
    assert "too deep" in webui_checks(webui)["extension"].problem
    (extensions / "outer").rename(webui / "elsewhere")
    assert webui_checks(webui)["extension"].level == "error"


def test_another_interpreter_than_the_webuis_is_a_warning_with_the_command(webui: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = webui / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    check = webui_checks(webui)["environment"]
    assert check.level == "warning"
    assert str(python) in check.advice
    assert "-m train_embedding doctor" in check.advice
    monkeypatch.setattr(sys, "prefix", str(webui / "venv"))
    assert webui_checks(webui)["environment"].level == "ok"


def test_a_check_that_fails_becomes_a_line() -> None:
    def checks() -> Iterable[Check]:
        yield Check("first", "fine")
        raise KeyError("surprise")

    section = run_checks("Folders", checks)
    assert section.failed
    assert section.checks[0] == Check("first", "fine")
    assert "KeyError: 'surprise'" in section.checks[1].problem


def test_reports_do_not_name_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert shown_path(tmp_path / "webui") == str(Path("~", "webui"))
    assert shown_path(tmp_path.parent) == str(tmp_path.parent)
