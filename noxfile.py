"""The tests on both stacks: what WebUI 1.10.1 pins, and the current releases."""

from __future__ import annotations

import nox

nox.options.default_venv_backend = "venv"
nox.options.reuse_venv = "yes"
nox.options.error_on_missing_interpreters = True


@nox.session
@nox.parametrize("stack", ["webui", "current"])
def tests(session: nox.Session, stack: str) -> None:
    """Installs one stack and runs pytest with what stands after `--`."""
    if stack == "webui":
        _need_python_3_10_or_3_11(session)
    session.install("-r", f"requirements/{stack}.txt", "-r", "requirements/test.txt")
    session.run("python", "install.py")  # as the WebUI does: adds diffusers to its stack, and nothing to the other
    session.run("python", "-m", "pytest", *session.posargs)


def _need_python_3_10_or_3_11(session: nox.Session) -> None:
    code = "import sys; print(sys.version_info[:2] in ((3, 10), (3, 11)))"
    if session.run("python", "-c", code, silent=True) != "True\n":
        session.error("The WebUI's releases exist for Python 3.10 and 3.11: nox --force-python 3.11 -s \"tests(stack='webui')\"")
