"""The catalogues: every text of the tab is translated, with the same values, and the compiled files are current."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

pytest.importorskip("babel")

from babel.messages.catalog import Catalog

from tests.chinese import english_words
from tools import translations
from tools.translations import CONVERTED, TRANSLATED
from train_embedding.messages import Message
from train_embedding.translations import translate

CHINESE = re.compile(r"[\u4e00-\u9fff]")
FIELD = re.compile(r"\{([a-z_]+(?::[^{}]*)?)\}")


@cache
def catalogue(language: str = TRANSLATED) -> Catalog:
    return translations.read(language)


@cache
def extracted() -> Catalog:
    return translations.extract()


def test_the_catalogue_has_the_messages_of_the_source() -> None:
    """If this fails, run `make translations`, and translate what it prints."""
    wanted, there = set(translations.texts(extracted())), set(translations.texts(catalogue()))
    assert len(wanted) > 300
    assert (sorted(wanted - there), sorted(there - wanted)) == ([], [])


def test_every_message_is_translated() -> None:
    assert [key for key, text in translations.texts(catalogue()).items() if not text] == []


def test_translations_have_the_same_values() -> None:
    wrong = {message.id: text for message, text in messages() if fields_of(text) != fields_of(others_of(message))}
    assert wrong == {}


def test_translations_are_chinese() -> None:
    """No translation was left out by copying the English text, or a part of it."""
    left = {
        text: words for _, text in messages() if (words := english_words(text)) and (len(words) > 3 or not CHINESE.search(text))
    }
    assert set(left) == {"tabby, kitten, striped cat"}  # an example, for checkpoints that read English


@pytest.mark.parametrize("language", [TRANSLATED, CONVERTED])
def test_what_is_made_of_the_catalogue_is_current(language: str) -> None:
    """If this fails, run `make translations`."""
    assert translations.path_of(language, ".mo").read_bytes() == translations.compiled(catalogue(language))
    localization = translations.ROOT / "localizations" / f"{language}.json"
    assert localization.read_bytes() == translations.webui_localization(catalogue(language))


def test_the_webui_gets_no_text_that_others_use() -> None:
    """The WebUI merges the localizations of all extensions into one dictionary for the whole page."""
    for file in (translations.ROOT / "localizations").glob("*.json"):
        assert list(json.loads(file.read_text(encoding="utf-8"))) == ["Train Embedding"]


def test_traditional_chinese_is_converted_and_says_so() -> None:
    assert translations.texts(translations.converted(catalogue())) == translations.texts(catalogue(CONVERTED))
    assert translations.NOTE in translations.path_of(CONVERTED, ".po").read_text(encoding="utf-8")


def test_every_key_is_put_into_words() -> None:
    """With each field filled in, what a reader sees is the translation, and has no field left."""
    for message, text in messages():
        key, plural_key = (message.id, "") if isinstance(message.id, str) else message.id
        fields = [field.partition(":")[0] for field in fields_of(others_of(message))]
        values: dict[str, Any] = dict.fromkeys([*fields, *(["count"] if plural_key else [])], 2)
        shown = translate(Message("English", key=key, plural_key=plural_key, values=values), "zh_CN")
        assert shown == (text.format(**values) if values else text)


def messages() -> Iterator[tuple[Any, str]]:
    """Each message of the catalogue with its translation; Chinese has one form for all counts."""
    for message in catalogue():
        if message.id:
            yield message, translations.texts(catalogue())[message.id if isinstance(message.id, str) else message.id[0]]


def others_of(message: Any) -> str:
    """The English template, of a plural that for other counts than 1."""
    return message.id if isinstance(message.id, str) else message.id[1]


def fields_of(template: str) -> set[str]:
    """Each field of a template with its format, such as "loss:.4f"."""
    return set(FIELD.findall(template))
