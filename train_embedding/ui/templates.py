"""The HTML of the tab: Jinja templates in `templates/`. Every value is escaped, and messages are translated."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from markupsafe import Markup

from train_embedding.messages import Message
from train_embedding.translations import t, translate

if TYPE_CHECKING:
    from jinja2 import Environment

FOLDER = Path(__file__).parent / "templates"
_LINE_BREAK_BETWEEN_TAGS = re.compile(r"(?<=[>}])\s*\n\s*(?=[<{])")
_LINE_BREAK = re.compile(r"\s*\n\s*")


def render(template: str, /, **values: object) -> Markup:
    """Fill in a template.

    Args:
        template: A file in `templates/`, without the suffix .html.
        values: What the template's variables stand for. Text is escaped, and a message translated first; a `Markup` is
            inserted as it is.

    Raises:
        jinja2.UndefinedError: The template has a variable that is not among the values.
    """
    return Markup(_environment().get_template(f"{template}.html").render(values))


def read_source(name: str) -> str:
    """Return the source of a template as it is rendered, without the line breaks and the indentation of the file.

    A line break between tags or blocks is not part of the page, where it would become a space; elsewhere it is one space.
    """
    text = (FOLDER / name).read_text(encoding="utf-8").strip()
    return _LINE_BREAK.sub(" ", _LINE_BREAK_BETWEEN_TAGS.sub("", text))


@lru_cache(maxsize=1)
def _environment() -> Environment:
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        loader=FunctionLoader(read_source), autoescape=True, undefined=StrictUndefined, finalize=_translate_message
    )
    cast("Any", environment).globals["t"] = t
    return environment


def _translate_message(value: object) -> object:
    return translate(value) if isinstance(value, Message) else value
