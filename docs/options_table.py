"""Writes the tables of options into docs/guide.md, between the two marks: `python -m docs.options_table`."""

from __future__ import annotations

from pathlib import Path

from train_embedding.engine.config import OPTIONS, Option

GUIDE = Path(__file__).with_name("guide.md")
BEGIN = "<!-- options: begin, written by docs/options_table.py -->"
END = "<!-- options: end -->"


def options_tables() -> str:
    """Return one table for each group of options, in Markdown."""
    groups = dict.fromkeys(option.group for option in OPTIONS)
    return "\n\n".join(_table(group, [option for option in OPTIONS if option.group == group]) for group in groups)


def with_tables(guide: str) -> str:
    """Return the text of the guide with the tables of today."""
    before, rest = guide.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n\n{options_tables()}\n\n{END}{after}"


def _table(group: str, options: list[Option]) -> str:
    head = ["| in the tab | command line | default | meaning |", "|---|---|---|---|"]
    return "\n".join([f"#### {group}", "", *head, *map(_row, options)])


def _row(option: Option) -> str:
    cells = (option.label, _flag(option), _default(option), f"{_sentence(option.help)} {option.details}".strip())
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _flag(option: Option) -> str:
    arguments = {"embedding": "`NAME`", "dataset": "`FOLDER`"}
    return arguments.get(option.name, f"`{option.flag}`")


def _default(option: Option) -> str:
    if option.kind == "flag":
        return "on" if option.default else "off"
    if option.kind == "lines":
        return f"{len(option.default)} lines"
    return f"`{option.default}`" if option.default not in (None, "") else ""


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."


if __name__ == "__main__":
    GUIDE.write_text(with_tables(GUIDE.read_text(encoding="utf-8")), encoding="utf-8")
