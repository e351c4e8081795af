"""The tests on both stacks: the packages that WebUI 1.10.1 installs, and the current releases."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import nox

nox.options.default_venv_backend = "venv"
nox.options.reuse_venv = "yes"
nox.options.error_on_missing_interpreters = True

USERS_PYTHON = "3.10"
"The version that the WebUI recommends; its torch has no wheels for Python 3.12 and newer."


def users_python() -> str | None:
    """Return the path of a Python 3.10 that runs, on PATH or from pyenv or uv; None if there is none."""
    return next((path for path in _candidates() if _version_of(path) == USERS_PYTHON), None)


def _candidates() -> Iterator[str]:
    if found := shutil.which(f"python{USERS_PYTHON}"):
        yield found  # may be pyenv's shim, which runs only if that version is selected
    for folder in sorted(_pyenv_versions().glob(f"{USERS_PYTHON}.*"), reverse=True):
        yield str(folder / "bin" / "python")
        yield str(folder / "python.exe")
    if shutil.which("uv"):
        yield _output("uv", "python", "find", USERS_PYTHON)


def _pyenv_versions() -> Path:
    root = os.environ.get("PYENV_ROOT") or (_output("pyenv", "root") if shutil.which("pyenv") else "")
    return Path(root) / "versions" if root else Path.home() / ".pyenv" / "versions"


def _version_of(path: str) -> str:
    return _output(path, "-c", "import sys; print('%d.%d' % sys.version_info[:2])")


def _output(*command: str) -> str:
    """Return the output of a program; empty if it cannot be started or fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


@nox.session(python=users_python())
def webui(session: nox.Session) -> None:
    """Run pytest under Python 3.10 with the packages of WebUI 1.10.1. Arguments after `--` are passed to pytest."""
    if session.python is None:
        session.error(
            "Python 3.10 was found neither on PATH nor with pyenv or uv. Install it, for example with `pyenv install 3.10` "
            "or `uv python install 3.10`."
        )
    _tests(session, "webui")


@nox.session
def current(session: nox.Session) -> None:
    """Run pytest with the current releases of all packages. Arguments after `--` are passed to pytest."""
    _tests(session, "current")


_NO_TESTS = 5
"Exit code of pytest if it collects no tests."


def _tests(session: nox.Session, stack: str) -> None:
    session.install("-r", f"requirements/{stack}.txt", "-r", "requirements/test.txt")
    session.run("python", "install.py")  # as the WebUI does; adds diffusers to its stack, and nothing to the other
    if "-m" in session.posargs:
        session.run("python", "-m", "pytest", *session.posargs)
        return
    for tests in ("not browser", "browser"):  # separately, since Playwright keeps an event loop running in its process
        session.run("python", "-m", "pytest", "-m", tests, *session.posargs, success_codes=[0, _NO_TESTS])
