"""Installs diffusers into a WebUI without it, and changes nothing else; the WebUI runs this file at every start.

diffusers is the only package that the engine needs and WebUI 1.10.1 does not install. Releases after 0.31.0 do not import with
transformers 4.30.2, which the WebUI pins, and pip could replace pinned packages while it resolves dependencies. So 0.31.0 is
installed without dependencies: all that it imports was installed with transformers. An installed diffusers is left unchanged.

Used of the host: launch.run_pip(command, desc), which also honours --skip-install.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shlex
import subprocess
import sys

DIFFUSERS = "diffusers==0.31.0"
TOO_NEW = 5
"The first major version of transformers with which this diffusers does not import."


def main() -> None:
    """Install diffusers, or print why it was not installed."""
    if _present("diffusers"):
        return
    problem = _why_not()
    if problem:
        print(f"Train Embedding: diffusers is missing and was not installed: {problem}")
        return
    try:
        _pip(f"install --no-deps {DIFFUSERS}")
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        print(f"Train Embedding: {DIFFUSERS} could not be installed, so training will not work: {error}")


def _present(module: str) -> bool:
    """Return whether a module can be imported, without importing it; an empty folder that an uninstall left does not count."""
    spec = importlib.util.find_spec(module)
    return spec is not None and spec.origin is not None


def _why_not() -> str:
    """Return why the release would not work here; empty if it would."""
    try:
        version = importlib.metadata.version("transformers")
    except importlib.metadata.PackageNotFoundError:
        return "transformers is missing too, so this is not a WebUI's environment. See README.md for use without one."
    if int(version.split(".")[0]) >= TOO_NEW:
        return f"{DIFFUSERS} does not work with transformers {version}. Install a diffusers that does."
    return ""


def _pip(command: str) -> None:
    try:
        from launch import run_pip  # pyright: ignore[reportMissingImports]
    except ImportError:
        subprocess.run([sys.executable, "-m", "pip", *shlex.split(command)], check=True)
    else:
        run_pip(command, "diffusers for Train Embedding")


if __name__ == "__main__":
    main()
