"""Languages of the tab: which one is shown, and its catalogue of translated messages.

Catalogues are gettext's: `locales/<language>/LC_MESSAGES/train_embedding.po`, which `make translations` compiles to `.mo` files.
English is the language of the source.
"""

from __future__ import annotations

import functools
import gettext
import re
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from train_embedding.messages import SPACE, Message, fill, msg

if TYPE_CHECKING:
    from typing_extensions import LiteralString

Language = Literal["en", "zh_CN", "zh_TW"]
LANGUAGES: tuple[Language, ...] = get_args(Language)
FOLDER = Path(__file__).parent / "locales"
DOMAIN = "train_embedding"

_current: ContextVar[Language] = ContextVar("language", default="en")
_CHINESE = re.compile(r"\b(zh|cmn|chs|cht|chi|zho|chinese)(?![a-z])|中文|汉|漢|简|簡|繁", re.IGNORECASE)
_TRADITIONAL = re.compile(r"hant|\b(tw|hk|mo|cht)\b|trad|繁", re.IGNORECASE)


def t(text: LiteralString | Message, /, **values: object) -> str:
    """Return a text in the current language.

    Args:
        text: A message, or the English template of one, a literal.
        values: What the fields of a template stand for.
    """
    return translate(text if isinstance(text, Message) else msg(text, **values))


def translate(text: str, language: Language | None = None) -> str:
    """Return a message in a language; text that is no message, or has no translation, stays as it is.

    Args:
        text: A message, or any text.
        language: By default the current one.
    """
    language = language or _current.get()
    if not isinstance(text, Message) or language == "en":
        return str(text)
    catalogue = _catalogue(language)
    if text.parts:
        separator = "" if text.key == SPACE else _look_up(catalogue, text.key)  # Chinese sentences follow each other directly
        return separator.join(translate(part, language) for part in text.parts)
    if not text.key:
        return str(text)
    count = text.values.get("count")
    template = (
        catalogue.ngettext(text.key, text.plural_key, count)
        if text.plural_key and isinstance(count, int)
        else _look_up(catalogue, text.key)
    )
    values = {name: translate(value, language) if isinstance(value, str) else value for name, value in text.values.items()}
    return fill(template, values)


def current_language() -> Language:
    """Return the language that `t` uses."""
    return _current.get()


@contextmanager
def in_language(language: Language) -> Generator[None, None, None]:
    """Make a language the current one until exit, in this thread or task."""
    token = _current.set(language)
    try:
        yield
    finally:
        _current.reset(token)


def bind(function: Callable[..., Any], language: Language) -> Callable[..., Any]:
    """Return the function as one that runs with a language as the current one."""

    @functools.wraps(function)
    def bound(*args: Any, **kwargs: Any) -> Any:
        with in_language(language):
            return function(*args, **kwargs)

    return bound


def closest_language(name: str) -> Language:
    """Return the language that a name means; English for names of languages without a catalogue.

    Args:
        name: A locale or the name of a language pack, such as "zh_CN", "zh-Hans (Stable)", "zh-TW" or "chinese-all-0313".
    """
    if not _CHINESE.search(name.replace("_", "-")):
        return "en"
    return "zh_TW" if _TRADITIONAL.search(name.replace("_", "-")) else "zh_CN"


def preferred_language(accept_language: str) -> Language:
    """Return the language that a browser prefers, by the order and weights of its `Accept-Language` header (RFC 9110, 12.5.4)."""
    weighted: list[tuple[float, str]] = []
    for item in accept_language.split(","):
        name, _, parameters = item.strip().partition(";")
        quality = re.search(r"q=([\d.]+)", parameters)
        try:
            weight = float(quality[1]) if quality else 1.0
        except ValueError:
            weight = 0.0
        if name and weight > 0:
            weighted.append((weight, name))
    best = max(weighted, key=lambda pair: pair[0], default=(0.0, "en"))
    return closest_language(best[1])


def _look_up(catalogue: gettext.NullTranslations, key: str) -> str:
    return catalogue.gettext(key) if key else ""  # gettext has its header under the empty key


@functools.cache
def _catalogue(language: Language) -> gettext.NullTranslations:
    return gettext.translation(DOMAIN, FOLDER, [language], fallback=True)
