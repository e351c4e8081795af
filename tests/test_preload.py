"""The command-line flags that the WebUI gets from preload.py."""

from __future__ import annotations

import argparse
import ast
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

PRELOAD = Path(__file__).parents[1] / "preload.py"


@pytest.fixture
def parser() -> argparse.ArgumentParser:
    """A parser filled the way the WebUI does it: the file run by path, outside `sys.modules`."""
    spec = importlib.util.spec_from_file_location("preload.py", PRELOAD)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    preload: Callable[[argparse.ArgumentParser], None] = module.preload
    parser = argparse.ArgumentParser()
    preload(parser)
    return parser


def test_no_folder_is_allowed_unasked(parser: argparse.ArgumentParser) -> None:
    assert parser.parse_args([]).train_embedding_allow == []


def test_may_be_given_several_times(parser: argparse.ArgumentParser) -> None:
    options = parser.parse_args(["--train-embedding-allow", "/srv/a", "--train-embedding-allow=/srv/b c"])
    assert options.train_embedding_allow == ["/srv/a", "/srv/b c"]


def test_parsing_twice_starts_afresh(parser: argparse.ArgumentParser) -> None:
    parser.parse_args(["--train-embedding-allow", "/srv/a"])
    assert parser.parse_args([]).train_embedding_allow == []


def test_the_flag_needs_a_folder(parser: argparse.ArgumentParser, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser.parse_args(["--train-embedding-allow"])
    assert "FOLDER" in capsys.readouterr().err


def test_help_says_what_it_is_for(parser: argparse.ArgumentParser) -> None:
    assert "shared server" in " ".join(parser.format_help().split())


def test_imports_the_standard_library_alone() -> None:
    tree = ast.parse(PRELOAD.read_text(encoding="utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in imported} <= sys.stdlib_module_names
