"""metadata.ini, from which the WebUI takes the name that other extensions use for this one, and the package's own metadata."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_the_webui_reads_the_name() -> None:
    config = configparser.ConfigParser()  # as modules/extensions.py of WebUI 1.10.1 does
    assert config.read(ROOT / "metadata.ini") == [str(ROOT / "metadata.ini")]
    name = config.get("Extension", "Name")
    assert f'name = "{name}"' in PROJECT
    assert name == name.lower().strip(), "canonical names are lower case"
    assert re.split(r"[,\s]+", name) == [name], "lists of names are split at commas and spaces"
    assert config.get("Extension", "Requires", fallback="") == ""


def test_the_classifiers_name_the_versions_of_python_that_ci_tests() -> None:
    classified = set(re.findall(r'"Programming Language :: Python :: (3\.\d+)"', PROJECT))
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    tested = re.search(r"python: \[(.*)\]", workflow)
    assert tested is not None
    assert classified == set(re.findall(r"3\.\d+", tested[1])) == {"3.10", "3.11", "3.12", "3.13"}
