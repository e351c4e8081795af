"""`train-embedding doctor`: what is installed, where everything is, and what keeps it from working."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

from train_embedding import __version__
from train_embedding.cli.common import DATA_FOLDER, Commands, add_command, count, print_json
from train_embedding.cli.streams import shown
from train_embedding.services.diagnosis import Check, Section, diagnose, find_webui
from train_embedding.services.json_values import to_json
from train_embedding.services.typed_paths import typed_path

PROBLEMS_FOUND = 1
"Exit code if something keeps Train Embedding from working."


def add_to(commands: Commands) -> None:
    """Add the command."""
    what = (
        "Check the installed packages, the WebUI, the folders and the device, and show what is wrong and what to do. "
        "Include the output when you report a problem; it contains no passwords, prompts or embeddings. The exit code is "
        f"{PROBLEMS_FOUND} if something keeps Train Embedding from working."
    )
    parser = add_command(commands, "doctor", run, "find out what is wrong with this installation", what)
    parser.add_argument(
        "--webui", type=typed_path, metavar="FOLDER",
        help="folder of the WebUI to check (default: the one that this folder or this extension is in, if any)",
    )  # fmt: skip
    parser.add_argument(
        "--data", type=typed_path, metavar="FOLDER",
        help=f"check the use without a WebUI, with this data folder (default without a WebUI: {DATA_FOLDER})",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the results as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    named: Path | None = arguments.webui
    here = _working_folder()
    webui = here / named if named else None if arguments.data else find_webui(here)
    sections = diagnose(webui, here / (arguments.data or DATA_FOLDER), wants_webui=named is not None)
    found = list(sections if arguments.json else _print_as_they_come(sections))
    if arguments.json:
        print_json({"version": __version__, "ok": not any(map(_failed, found)), "sections": to_json(found)})
    else:
        _print_summary([check for section in found for check in section.checks])
    return PROBLEMS_FOUND if any(map(_failed, found)) else 0


def _working_folder() -> Path:
    try:
        return Path.cwd()
    except OSError:  # it was deleted or is closed
        return Path(os.sep)


def _failed(section: Section) -> bool:
    return section.failed


def _print_as_they_come(sections: Iterator[Section]) -> Iterator[Section]:
    for section in sections:
        print(section.title)
        width = max((len(check.name) for check in section.checks), default=0)
        for check in section.checks:
            print(shown(f"  {check.name:<{width}}  {check.value}").rstrip())
            if check.problem:
                print(shown(f"      {check.level.upper()}: {check.problem}"))
            if check.advice:
                print(shown(f"      {check.advice}"))
        print(flush=True)
        yield section


def _print_summary(checks: list[Check]) -> None:
    errors, warnings = (sum(check.level == level for check in checks) for level in ("error", "warning"))
    if errors:
        also = f", and {count(warnings, 'warning')}" if warnings else ""
        print(f"{count(errors, 'problem')} must be fixed{also}. See ERROR above.")
    elif warnings:
        print(f"Everything works, with {count(warnings, 'warning')}.")
    else:
        print("Everything works.")
