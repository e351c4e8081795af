"""`train-embedding doctor`: it says what is wrong, answers with its exit code, and never ends with a traceback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rights import WITHOUT_RIGHTS
from train_embedding import __version__
from train_embedding.cli import doctor, main
from train_embedding.services.diagnosis import Check, Section

ROOT = Path(__file__).parents[2]


def started(*options: str, python: tuple[str, ...] = (sys.executable,), **variables: str) -> subprocess.CompletedProcess[str]:
    command = [*python, "-m", "train_embedding", "doctor", *options]
    environment = {**os.environ, **variables}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, encoding="utf-8", check=False, timeout=300
    )
    assert "Traceback" not in done.stderr + done.stdout, done.stderr
    return done


@pytest.fixture
def no_packages() -> tuple[str, ...]:
    """An interpreter that sees no installed packages."""
    return (sys.executable, "-S")


def test_without_any_package_each_is_a_line(tmp_path: Path, no_packages: tuple[str, ...]) -> None:
    done = started("--data", str(tmp_path), python=no_packages)
    assert done.returncode == 1, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    for package in ("torch", "diffusers", "filelock", "tqdm"):
        assert [package, "not", "installed"] in lines
    assert "ERROR: Train Embedding needs it." in done.stdout
    assert 'pip install --upgrade "diffusers>=0.31.0"' in done.stdout
    assert "problems must be fixed" in done.stdout.splitlines()[-1]


def test_a_torch_that_is_too_old_and_broken(tmp_path: Path, no_packages: tuple[str, ...]) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise OSError('libcudart.so.11.0: cannot open shared object file')")
    info = tmp_path / "torch-2.0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 2.0.1\n")
    done = started("--json", "--data", str(tmp_path), python=no_packages, PYTHONPATH=str(tmp_path))
    values = json.loads(done.stdout)
    assert (done.returncode, values["ok"], values["version"]) == (1, False, __version__)
    (torch,) = [check for section in values["sections"] for check in section["checks"] if check["name"] == "torch"]
    assert (torch["value"], torch["level"]) == ("2.0.1", "error")
    assert "2.1.2 or newer" in torch["problem"]


@pytest.mark.slow
def test_this_environment_works(tmp_path: Path) -> None:
    done = started("--data", str(tmp_path))
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-1].startswith("Everything works")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv")
def test_a_closed_folder_is_a_line(tmp_path: Path, no_packages: tuple[str, ...]) -> None:
    embeddings = tmp_path / "embeddings"
    before = WITHOUT_RIGHTS if os.geteuid() == 0 else ()
    for mode, problem in ((0o500, "no permission to write to it"), (0, "cannot be read")):
        embeddings.mkdir(exist_ok=True)
        embeddings.chmod(mode)
        done = started("--data", str(tmp_path), python=(*before, *no_packages))
        embeddings.chmod(0o700)
        assert done.returncode == 1
        assert problem in done.stdout


def test_the_first_section_is_printed_before_packages_are_imported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    printed: list[str] = []

    def sections(*_options: object, **_more: object) -> Iterator[Section]:
        yield Section("First", (Check("Python", "3.10"),))
        printed.append(capsys.readouterr().out)
        yield Section("Last", (Check("torch", "2.0", "warning", "It is old.", "Update it."),))

    monkeypatch.setattr(doctor, "diagnose", sections)
    assert main(["doctor", "--data", str(tmp_path)]) == 0
    assert printed == ["First\n  Python  3.10\n\n"]
    assert capsys.readouterr().out == (
        "Last\n  torch  2.0\n      WARNING: It is old.\n      Update it.\n\nEverything works, with 1 warning.\n"
    )


def test_a_folder_that_is_no_webui(tmp_path: Path, no_packages: tuple[str, ...]) -> None:
    done = started("--webui", str(tmp_path), "--data", str(tmp_path), python=no_packages)
    assert done.returncode == 1
    assert "ERROR: It is not the folder of a WebUI." in done.stdout


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps the folder")
def test_a_working_folder_that_was_deleted(tmp_path: Path, no_packages: tuple[str, ...]) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    code = f"import os; os.chdir({str(gone)!r}); os.rmdir({str(gone)!r})\n"
    code += "import sys; from train_embedding.cli import main; sys.exit(main(['doctor']))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([*no_packages, "-c", code], env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (1, "")
