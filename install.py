"""Adds diffusers to a WebUI that has none, and changes nothing else; the WebUI runs this file at every start.

The one package the engine needs that WebUI 1.10.1 lacks is diffusers. Releases after 0.31.0 do not import with the
transformers 4.30.2 that the WebUI pins, and pip's own resolution could replace pinned packages, so that release goes in
without its dependencies: all that it imports came with transformers. A diffusers that is there already is left as it is.

Host symbols relied on: launch.run_pip(command, desc), which also obeys --skip-install.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shlex
import subprocess
import sys

DIFFUSERS = "diffusers==0.31.0"
TOO_NEW = 5
"The first major version of transformers that this diffusers does not import with."


def main() -> None:
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
    """Whether a module can be imported, found without importing it; an empty folder left by an uninstall does not count."""
    spec = importlib.util.find_spec(module)
    return spec is not None and spec.origin is not None


def _why_not() -> str:
    """Why the release would not work here, or empty."""
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
