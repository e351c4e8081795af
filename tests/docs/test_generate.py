"""The generated parts of the documentation: complete, and each in one page."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest
import yaml

from docs.generate import MARK, PARTS, commands, fill_in, options, routes
from train_embedding import errors
from train_embedding.cli import INTERRUPTED, parser
from train_embedding.engine.config import OPTIONS

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))


def test_options_have_a_section_each() -> None:
    sections = {section.split("\n")[0]: section for section in re.split(r"^### ", options(), flags=re.MULTILINE)[1:]}
    assert list(sections) == [f"{option.label} {{ #{option.name.replace('_', '-')} }}" for option in OPTIONS]
    for option, section in zip(OPTIONS, sections.values(), strict=True):
        assert option.help in section
        assert option.details in section
        assert [word for word in option.choices if f"`{word}`" not in section] == []
    found = {option.name: section for option, section in zip(OPTIONS, sections.values(), strict=True)}
    assert "`--width` · 0 to 4,096, a multiple of 8 · default: `0`" in found["width"]
    assert "`--learning-rate` · default: `0.12`" in found["learning_rate"]
    assert "`--buckets` · `--no-buckets` switches it off · default: on" in found["buckets"]


def test_options_are_described_in_chinese_too() -> None:
    page = fill_in("<!-- generated: options -->", "zh_CN")
    assert "### 学习率 { #learning-rate }\n\n`--learning-rate` · 默认：`0.12`" in page
    anchors = re.compile(r"\{ #(.*) \}")
    assert anchors.findall(page) == anchors.findall(options())
    assert {option.name for option in OPTIONS if f"### {option.label} {{" in page} <= {"embedding", "min_snr_gamma"}


def _parsers(built: argparse.ArgumentParser, name: str = "") -> dict[str, argparse.ArgumentParser]:
    """Every parser of a command, by the command with its parents."""
    found: dict[str, argparse.ArgumentParser] = {}
    for action in built._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command, below in action.choices.items():
                found |= {f"{name} {command}".strip(): below, **_parsers(below, f"{name} {command}")}
    return found


COMMANDS = _parsers(parser())


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_have_a_section_with_every_argument(name: str) -> None:
    section = re.split(r"^##+ ", commands().split(f"# {name}\n")[1], flags=re.MULTILINE)[0]
    actions = [action for action in COMMANDS[name]._actions if not isinstance(action, argparse._SubParsersAction)]
    described = [action for action in actions if action.dest != "help"]
    assert [flag for action in described for flag in action.option_strings if f"`{flag}`" not in section] == []
    rows = [line.replace("\\|", "").split("|") for line in section.splitlines() if line.startswith("| `")]
    assert len(rows) == len(described)
    assert [row for row in rows if not row[2].strip()] == []


def test_exit_codes_and_statuses_are_listed() -> None:
    page = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.TrainEmbeddingError)]
    codes = {(kind.exit_code, kind.http_status) for kind in kinds if "exit_code" in vars(kind) and kind.exit_code > 1}
    listed = {(int(code), int(status)) for code, status in re.findall(r"^\| (\d+) \| (\d+) \|", page, re.MULTILINE)}
    assert listed == codes | {(0, 200)}
    assert f"| {INTERRUPTED} |" in page


def test_routes_have_their_parameters_and_bodies() -> None:
    start = routes().split("### `POST /runs`\n")[1].split("\n### ")[0]
    assert [option.name for option in OPTIONS if f"| `{option.name}` |" not in start] == []
    delete = routes().split("### `DELETE /embeddings/{name}`\n")[1].split("\n### ")[0]
    assert "| `name` | path | string | required |" in delete
    assert "| `permanently` | query | boolean | `false` |" in delete


def test_every_part_is_in_one_page_of_a_language() -> None:
    english = [page for page in PAGES if not page.stem.endswith(".zh")]
    marks = [mark for page in english for mark in MARK.findall(page.read_text(encoding="utf-8"))]
    assert sorted(marks) == sorted(PARTS)
    assert [page.name for page in PAGES for mark in MARK.findall(page.read_text(encoding="utf-8")) if mark not in PARTS] == []


def test_a_mark_is_replaced_where_it_is_a_line() -> None:
    page = fill_in("# Options\n\n<!-- generated: options -->\n\nThe end, `<!-- generated: options -->`.\n")
    assert page.startswith("# Options\n\n## Basics { #basics }\n")
    assert page.endswith("\n\nThe end, `<!-- generated: options -->`.\n")


def test_pipes_in_code_in_tables_have_no_backslash() -> None:
    page = fill_in("| `[a\\|b]` | a \\| b |\n\nWrite `\\|` for a pipe.\n")
    assert page == "| `[a|b]` | a \\| b |\n\nWrite `\\|` for a pipe.\n"


def test_links_of_the_changelog_work_on_the_site() -> None:
    assert "](docs/" not in PARTS["changelog"]()


def test_the_navigation_is_translated() -> None:
    # mkdocs.yml has tags that only MkDocs knows.
    lines = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").splitlines()
    config = yaml.safe_load("\n".join(line for line in lines if "!!python" not in line))
    titles = {title for entry in config["nav"] for title in _titles(entry)}
    chinese = next(plugin["i18n"] for plugin in config["plugins"] if "i18n" in plugin)["languages"][1]
    assert titles - set(chinese["nav_translations"]) == set()


def _titles(entry: dict[str, object]) -> list[str]:
    return [title for name, below in entry.items() for title in [name, *_titles_below(below)]]


def _titles_below(below: object) -> list[str]:
    return [title for entry in below for title in _titles(entry)] if isinstance(below, list) else []
