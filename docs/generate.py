"""MkDocs hook: fills in the generated parts of pages, and adds the scripts that pages would otherwise load from a CDN.

A page contains a line such as `<!-- generated: options -->`, which is replaced when the site is built. So nothing that is
generated is kept in the repository, and nothing can be out of date.
"""

from __future__ import annotations

import argparse
import functools
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from tools.hosts_table import details, read_reports
from train_embedding.cli import parser
from train_embedding.engine.config import OPTIONS, Group, Option
from train_embedding.engine.config.options import GROUP_LABELS
from train_embedding.translations import Language, current_language, in_language, t

ROOT = Path(__file__).parents[1]
MARK = re.compile(r"^<!-- generated: (\w+) -->$", re.MULTILINE)
ROW = re.compile(r"^ *\|.*$", re.MULTILINE)
CODE = re.compile(r"`[^`\n]+`")
SCRIPTS = {
    "javascripts/iframe-worker.js": ROOT / "node_modules" / "iframe-worker" / "shim" / "index.js",
    "javascripts/mermaid.js": ROOT / "node_modules" / "@mermaid-js" / "tiny" / "dist" / "mermaid.tiny.js",
}
"Files of the site, and the packages of package.json that they come from: search from disk, and diagrams."
CHINESE = {
    "{argument}, the first argument": "{argument}，第一个参数",
    "{argument}, the second argument": "{argument}，第二个参数",
    "{flag} switches it off": "用 {flag} 关闭",
    "one of {words}": "可选：{words}",
    "{low} to {high}": "{low} 到 {high}",
    ", a multiple of {number}": "，{number} 的倍数",
    "default: {value}": "默认：{value}",
    "on": "开",
    "off": "关",
}
"The words around the facts of an option."
DIAGRAM = 'class="mermaid"'
"What the HTML of a page with a diagram contains."

Row = Sequence[str]
_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string"}


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Fill in a page, in the language of its file."""
    return fill_in(markdown, "zh_CN" if page.file.src_uri.endswith(".zh.md") else "en")


def fill_in(markdown: str, language: Language = "en") -> str:
    """Replace the marks in a page by what they stand for, and the escaped pipes in code in tables.

    GitHub needs the backslash in `a\\|b`, and Python-Markdown would show it.
    """
    with in_language(language):
        filled = MARK.sub(lambda mark: PARTS[mark[1]](), markdown)
    return ROW.sub(lambda row: CODE.sub(lambda code: code[0].replace("\\|", "|"), row[0]), filled)


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Add the script that draws diagrams to a page that contains one."""
    if DIAGRAM not in output:
        return output
    script = "../" * page.url.count("/") + "javascripts/mermaid.js"
    return output.replace("</body>", f'<script src="{script}"></script></body>')


def on_post_build(config: Any, **_: Any) -> None:
    """Copy the scripts into the site.

    Raises:
        FileNotFoundError: `npm ci` has not been run; `make docs` does.
    """
    for target, source in SCRIPTS.items():
        path = Path(config.site_dir) / target
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, path)


def options() -> str:
    """Return a section for each training option, under a heading for each group, in Markdown and in the current language."""
    groups: dict[Group, None] = dict.fromkeys(option.group for option in OPTIONS)
    return "\n\n".join(_option_group(group, [option for option in OPTIONS if option.group == group]) for group in groups)


def _option_group(group: Group, options: Iterable[Option]) -> str:
    return "\n\n".join([f"## {t(GROUP_LABELS[group])} {{ #{_slug(group)} }}", *map(_option, options)])


def _option(option: Option) -> str:
    facts = [_flag(option), _values(option), _default(option)]
    gap = " " if current_language() == "en" else "\n\n"  # the details are in English
    return "\n\n".join(
        [
            f"### {t(option.label)} {{ #{_slug(option.name)} }}",
            " · ".join(fact for fact in facts if fact),
            (_sentence(t(option.help)) + gap + option.details).strip(),
        ]
    )


def _slug(name: str) -> str:
    return name.lower().replace("_", "-").replace(" ", "-")


def _word(english: str, **values: object) -> str:
    """Return one of the words around the facts of an option, in the current language."""
    return (english if current_language() == "en" else CHINESE[english]).format(**values)


def _flag(option: Option) -> str:
    arguments = {"embedding": "{argument}, the first argument", "dataset": "{argument}, the second argument"}
    names = {"embedding": "`NAME`", "dataset": "`FOLDER`"}
    return _word(arguments[option.name], argument=names[option.name]) if option.name in arguments else f"`{option.flag}`"


def _values(option: Option) -> str:
    """Return which values an option takes, if that is not obvious."""
    if option.kind == "flag":
        return _word("{flag} switches it off", flag=f"`--no-{_slug(option.name)}`") if option.default else ""
    if option.kind == "choice":
        named = [f"`{word}`" if t(label) == word else f"`{word}` ({t(label)})" for label, word in option.labelled_choices()]
        return _word("one of {words}", words=", ".join(named))
    if option.low is None or option.high is None:
        return ""
    bounds = _word("{low} to {high}", low=f"{option.low:,}", high=f"{option.high:,}")
    return bounds + (_word(", a multiple of {number}", number=option.multiple_of) if option.multiple_of > 1 else "")


def _default(option: Option) -> str:
    if option.kind == "flag":
        return _word("default: {value}", value=_word("on" if option.default else "off"))
    if option.default is None or option.default in ("", ()):
        return ""
    lines = option.default if option.kind == "lines" else (option.default,)
    return _word("default: {value}", value=", ".join(f"`{line}`" for line in lines))


@functools.cache
def commands() -> str:
    """Return a section for each command of the command line, in Markdown."""
    return _sections("train-embedding", parser(), level=2)


def _sections(program: str, built: argparse.ArgumentParser, level: int) -> str:
    """Return the sections of a parser's commands; their headings leave out the name of the program."""
    groups = [action for action in built._actions if isinstance(action, argparse._SubParsersAction)]
    commands = [(name, command) for group in groups for name, command in group.choices.items()]
    return "\n\n".join(_command(f"{program} {name}", command, level) for name, command in commands)


def _command(name: str, built: argparse.ArgumentParser, level: int) -> str:
    actions = [action for action in built._actions if not isinstance(action, argparse._HelpAction)]
    arguments = [action for action in actions if not action.option_strings]
    options = [action for action in actions if action.option_strings]
    usage = " ".join([name, *map(_argument, arguments), *(["[OPTIONS]"] if options else [])])
    heading = f"{'#' * level} {name.removeprefix('train-embedding ')}"
    parts = [heading, _plain(built.description or ""), f"```sh\n{usage}\n```"]
    rows = [
        (_syntax(action), _action_help(action, built))
        for action in (*arguments, *options)
        if not isinstance(action, argparse._SubParsersAction)
    ]
    if rows:
        parts.append(_table(("Argument or option", "Meaning"), rows))
    if built.epilog:
        parts.append(f"```text\n{built.epilog.strip()}\n```")
    return "\n\n".join([*parts, _sections(name, built, level + 1)]).rstrip()


def _argument(action: argparse.Action) -> str:
    """Return an argument as a usage line writes it."""
    name = _value(action)
    forms = {"?": f"[{name}]", "*": f"[{name}…]", "+": f"{name}…"}
    return forms.get(str(action.nargs), name)


def _syntax(action: argparse.Action) -> str:
    """Return an argument or option as the first column of the table shows it."""
    if not action.option_strings:
        return f"`{_value(action)}`"
    flags = ", ".join(f"`{flag}`" for flag in action.option_strings)
    return flags if action.nargs == 0 else f"{flags} `{_value(action)}`"


def _value(action: argparse.Action) -> str:
    if isinstance(action.metavar, str):
        return action.metavar
    if action.choices is not None:
        return "|".join(map(str, action.choices))
    return action.dest.upper() if action.option_strings else action.dest


def _action_help(action: argparse.Action, built: argparse.ArgumentParser) -> str:
    text = (action.help or "") % {**vars(action), "prog": built.prog}
    return _plain(_sentence(text[:1].upper() + text[1:]))


@functools.cache
def routes() -> str:
    """Return a section for each route of the HTTP API, in Markdown."""
    sections: dict[str, list[str]] = {}
    for path, methods in _openapi()["paths"].items():
        short = path.removeprefix("/train-embedding/v1")
        for method, route in methods.items():
            sections.setdefault(short.split("/")[1], []).append(_route(f"{method.upper()} {short}", route))
    return "\n\n".join("\n\n".join([f"## {name.capitalize()}", *found]) for name, found in sections.items())


def _openapi() -> dict[str, Any]:
    from fastapi import FastAPI

    from train_embedding.api.routes import mount
    from train_embedding.services import Services
    from train_embedding.testing import FakeHost

    app = FastAPI()
    with tempfile.TemporaryDirectory() as folder:
        mount(app, Services(FakeHost(Path(folder))))
    return app.openapi()


def _route(title: str, route: dict[str, Any]) -> str:
    parts = [f"### `{title}`", _plain(route.get("description", "")).replace("\n", " ").replace("  ", "\n\n")]
    titles = ("Parameter", "In", "Type", "Default", "Meaning")
    parameters = [
        (f"`{each['name']}`", each["in"], *_field(each["schema"], each["required"])) for each in route.get("parameters", ())
    ]
    if parameters:
        parts.append(_table(titles, parameters))
    body = route.get("requestBody")
    if body:
        schema = body["content"]["application/json"]["schema"]
        fields = [(f"`{name}`", *_field(field, name in schema["required"])) for name, field in schema["properties"].items()]
        parts.append("JSON body:")
        parts.append(_table(("Field", "Type", "Default", "Meaning"), fields))
        if schema["example"]:
            parts.append(f"```json\n{json.dumps(schema['example'], ensure_ascii=False)}\n```")
    return "\n\n".join(parts)


def _field(schema: dict[str, Any], required: bool) -> Row:
    """Return the type, default and meaning of a field; options of a run are described in the reference of options."""
    known = _TYPES.get(type(schema.get("default")), "")
    kind = " or ".join(f"`{json.dumps(value)}`" for value in schema["enum"]) if "enum" in schema else schema.get("type", known)
    if "oneOf" in schema:
        kind = " or ".join(each["type"] for each in schema["oneOf"])
    default = "required" if required else f"`{json.dumps(schema['default'])}`" if schema.get("default") not in (None, "") else ""
    anchors = {option.label: _slug(option.name) for option in OPTIONS}
    label = f"[{schema['title']}](options.md#{anchors[schema['title']]})" if schema.get("title") in anchors else ""
    return kind, default, label or _plain(schema.get("description", ""))


def changelog() -> str:
    """Return the entries of CHANGELOG.md, with links that work on the site."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    return text.split("\n", 1)[1].replace("](docs/", "](")


PARTS: dict[str, Callable[[], str]] = {
    "options": options,
    "commands": commands,
    "routes": routes,
    "changelog": changelog,
    "hosts": lambda: details(read_reports()),
}
"The marks that pages may contain."


def _table(titles: Row, rows: Iterable[Row]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def _plain(text: str) -> str:
    """Escape what Markdown would read as markup, except code in backticks."""
    return re.sub(r"`[^`]*`|[\\*_<]", lambda found: found[0] if len(found[0]) > 1 else f"\\{found[0]}", text)


def _sentence(text: str) -> str:
    return text if not text or text.endswith((".", ")", "。", "）")) else f"{text}."
