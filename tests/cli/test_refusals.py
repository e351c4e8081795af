"""What the operating system refuses is one sentence: closed folders, and no memory left."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.rights import WITHOUT_RIGHTS
from train_embedding.cli import main
from train_embedding.errors import refusal_of
from train_embedding.services.library.library import Library

ROOT = Path(__file__).parents[2]
CLOSABLE = ("embeddings", "runs", "trash", "library", "templates")


def said(command: list[str], limit: str = "", before: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """A verb in a process of its own. limit: code to run first. before: a command that starts the process."""
    code = f"import sys\n{limit}\nfrom train_embedding.cli import main\nsys.exit(main(sys.argv[1:]))"
    whole = [*before, sys.executable, "-c", code, *command]
    return subprocess.run(whole, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)


def one_sentence(done: subprocess.CompletedProcess[str]) -> str:
    assert "Traceback" not in done.stderr, done.stderr
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("error: "))
    return line


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv")
@pytest.mark.parametrize("closed", ["embeddings", *(pytest.param(name, marks=pytest.mark.slow) for name in ("trash", "library"))])
def test_closed_folders(tmp_path: Path, closed: str) -> None:
    for name in CLOSABLE:
        (tmp_path / name).mkdir()
    (tmp_path / closed).chmod(0)
    commands = [["list"], ["trash"], ["delete", "dog"], ["resume"], ["create", "cat"]]
    code = f"from train_embedding.cli import main\nfor command in {commands}:\n    main([*command, '--data', {str(tmp_path)!r}])"
    before = WITHOUT_RIGHTS if os.geteuid() == 0 else ()
    done = subprocess.run([*before, sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    (tmp_path / closed).chmod(0o755)
    assert done.returncode == 0, done.stderr
    assert "There are no embeddings in" not in done.stdout or closed != "embeddings", "a closed folder is not an empty one"
    assert closed in "".join(line for line in done.stderr.splitlines() if line.startswith("error: "))


@pytest.mark.skipif(sys.platform != "linux", reason="needs limits of address space")
def test_thirty_megabytes_left(tmp_path: Path) -> None:
    limit = (
        "import resource\n"
        "size = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize() + 30 * 2**20\n"
        "resource.setrlimit(resource.RLIMIT_AS, (size, size))"
    )
    done = said(["create", "cat", "--init-text", "red", "--data", str(tmp_path)], limit)
    assert done.returncode == 12, done.stderr
    assert one_sentence(done) == (
        "error: There is not enough memory. Close other programs, or use smaller images, and try again."
    )


def test_a_permission_that_is_lost_midway(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def list_(_library: Library) -> None:
        raise PermissionError(13, "Permission denied", str(tmp_path / "embeddings"))

    monkeypatch.setattr(Library, "list", list_)
    assert main(["list", "--data", str(tmp_path)]) == 12
    error = capsys.readouterr().err
    assert error.startswith(f'error: Permission denied: "{tmp_path / "embeddings"}".')


def test_faults_of_programs_are_no_refusals() -> None:
    assert refusal_of(ZeroDivisionError("division by zero")) is None
    assert refusal_of(OSError("nothing is known of it")) is None
    assert refusal_of(KeyError("embeddings")) is None


def test_what_torch_says_of_memory() -> None:
    problem = RuntimeError("[enforce fail at alloc_cpu.cpp:83] . DefaultCPUAllocator: can't allocate memory: you tried to …")
    refusal = refusal_of(problem)
    assert refusal is not None
    assert refusal.message == "There is not enough memory."
