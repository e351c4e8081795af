"""What install.py does in environments made up of stubs: an interpreter without site-packages sees only these."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

INSTALL = Path(__file__).parents[1] / "install.py"

LAUNCH = """
import json, pathlib
def run_pip(command, desc=None, live=False):
    with pathlib.Path(__file__).with_name("calls.jsonl").open("a") as log:
        log.write(json.dumps(command.split()) + "\\n")
"""
LAUNCH_FAILS = "def run_pip(command, desc=None, live=False):\n    raise RuntimeError('no connection')\n"
PIP = """
import json, pathlib, sys
with (pathlib.Path(__file__).parents[1] / "calls.jsonl").open("a") as log:
    log.write(json.dumps(sys.argv[1:]) + "\\n")
"""


class Environment:
    """A folder that stands for a host's site-packages; importing a package in it fails, as install.py must not."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seconds = 0.0
        "Processor time of the last run; the wall clock would measure what else the machine does."

    def add_package(self, name: str, version: str) -> None:
        package = self.folder / name
        package.mkdir()
        (package / "__init__.py").write_text(f"raise AssertionError('{name} was imported')\n", encoding="utf-8")
        information = self.folder / f"{name}-{version}.dist-info"
        information.mkdir()
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")

    def add_launch(self, source: str = LAUNCH) -> None:
        (self.folder / "launch.py").write_text(source, encoding="utf-8")

    def add_pip(self, source: str = PIP) -> None:
        (self.folder / "pip").mkdir()
        (self.folder / "pip" / "__init__.py").touch()
        (self.folder / "pip" / "__main__.py").write_text(source, encoding="utf-8")

    def run(self) -> str:
        """Runs install.py as the WebUI does, and gives what it printed."""
        before = os.times()
        done = subprocess.run(
            [sys.executable, "-S", str(INSTALL)],
            env={**os.environ, "PYTHONPATH": str(self.folder), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        after = os.times()
        self.seconds = after.children_user + after.children_system - before.children_user - before.children_system
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        return done.stdout

    @property
    def calls(self) -> list[list[str]]:
        log = self.folder / "calls.jsonl"
        return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return Environment(tmp_path)


@pytest.fixture
def webui(environment: Environment) -> Environment:
    """WebUI 1.10.1 as it is after its own installation: everything but diffusers."""
    for name, version in (
        ("torch", "2.1.2"),
        ("transformers", "4.30.2"),
        ("huggingface_hub", "0.25.2"),
        ("numpy", "1.26.2"),
        ("gradio", "3.41.2"),
    ):
        environment.add_package(name, version)
    environment.add_launch()
    return environment


def test_adds_diffusers_without_its_dependencies(webui: Environment) -> None:
    assert webui.run() == ""
    assert webui.calls == [["install", "--no-deps", "diffusers==0.31.0"]]


def test_does_nothing_when_everything_is_present(webui: Environment) -> None:
    webui.add_package("diffusers", "0.31.0")
    assert webui.run() == ""
    assert webui.calls == []


def test_takes_under_a_second_when_everything_is_present(webui: Environment) -> None:
    webui.add_package("diffusers", "0.31.0")
    webui.run()
    assert webui.seconds < 1.0


@pytest.mark.parametrize("version", ["0.25.0", "0.32.2", "0.42.1"])
def test_leaves_another_diffusers_as_it_is(webui: Environment, version: str) -> None:
    webui.add_package("diffusers", version)
    assert webui.run() == ""
    assert webui.calls == []


def test_an_empty_folder_is_not_diffusers(webui: Environment) -> None:
    (webui.folder / "diffusers").mkdir()
    webui.run()
    assert webui.calls == [["install", "--no-deps", "diffusers==0.31.0"]]


def test_leaves_a_host_with_newer_transformers_alone(environment: Environment) -> None:
    environment.add_package("transformers", "5.23.0")
    environment.add_launch()
    said = environment.run()
    assert "diffusers is missing" in said
    assert "5.23.0" in said
    assert environment.calls == []


def test_leaves_an_environment_that_is_no_host_alone(environment: Environment) -> None:
    environment.add_pip()
    assert "not a WebUI" in environment.run()
    assert environment.calls == []


def test_uses_pip_where_there_is_no_launcher(environment: Environment) -> None:
    environment.add_package("transformers", "4.30.2")
    environment.add_pip()
    environment.run()
    assert environment.calls == [["install", "--no-deps", "diffusers==0.31.0"]]


def test_a_failing_launcher_is_reported_and_ends_nothing(webui: Environment) -> None:
    webui.add_launch(LAUNCH_FAILS)
    said = webui.run()
    assert "could not be installed" in said
    assert "no connection" in said


def test_a_failing_pip_is_reported_and_ends_nothing(environment: Environment) -> None:
    environment.add_package("transformers", "4.30.2")
    environment.add_pip("import sys\nsys.exit(1)\n")
    assert "could not be installed" in environment.run()


@pytest.mark.parametrize("name", ["torch", "transformers"])
def test_the_stubs_would_notice_a_heavy_import(webui: Environment, name: str) -> None:
    """The tests above show that nothing heavy is imported only as long as the stubs refuse to be."""
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import {name}"],
        env={**os.environ, "PYTHONPATH": str(webui.folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"{name} was imported" in done.stderr
