"""The commands of the README and the documentation are understood by the command line."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from train_embedding.cli import parser

ROOT = Path(__file__).parents[2]
PAGES = (*sorted(ROOT.glob("README*.md")), *sorted((ROOT / "docs").glob("*.md")))
BLOCK = re.compile(r"^ *```(?:sh|bat)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"(?:train-embedding|-m train_embedding) +([^&|]*?)(?:\s+#.*)?$", re.MULTILINE)
PLACEHOLDERS = re.compile(r"…|\[OPTIONS\]|%")


def _commands() -> list[tuple[str, str]]:
    found = [
        (page.name, command)
        for page in PAGES
        for block in BLOCK.findall(page.read_text(encoding="utf-8"))
        for command in COMMAND.findall(block)
    ]
    return [(page, command) for page, command in found if not PLACEHOLDERS.search(command)]


@pytest.mark.parametrize(("source", "command"), _commands())
def test_commands_are_understood(source: str, command: str) -> None:
    try:
        parser().parse_args(shlex.split(command))
    except SystemExit as end:
        if end.code == 0:
            return
        pytest.fail(f"{source}: train-embedding {command}")


def test_many_commands_are_found() -> None:
    assert len(_commands()) > 30
